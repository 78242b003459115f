#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/intake.h"
#include "lmscope/column_cosine.h"
#include "lmscope/error.h"

namespace py = pybind11;

namespace lmscope::bindings {
void bind_column_cosine(py::module_& module) {
    py::class_<PackedColumns>(module, "PackedColumns")
        .def(py::init([](py::handle matrix, const char* argument) {
                 const Intake intake(matrix, argument);
                 const py::gil_scoped_release release;
                 return PackedColumns(intake.view(), argument);
             }),
             py::arg("matrix"), py::arg("argument"))
        .def(
            "with_signs",
            [](const PackedColumns& packed, const py::array_t<bool, py::array::c_style>& negative) {
                const bool by_entry = negative.ndim() == 2 && negative.shape(1) == packed.columns();
                if ((negative.ndim() != 1 && !by_entry) || negative.shape(0) != packed.depth())
                    throw InvalidArgument("negative must have one entry for each of the " +
                                          std::to_string(packed.depth()) + " rows, or for each of their " +
                                          std::to_string(packed.columns()) + " elements");
                const auto* data = reinterpret_cast<const uint8_t*>(negative.data());
                const py::gil_scoped_release release;
                return by_entry ? packed.with_entry_signs(data) : packed.with_signs(data);
            },
            py::arg("negative"))
        .def_property_readonly("depth", &PackedColumns::depth)
        .def_property_readonly("columns", &PackedColumns::columns)
        .def_property_readonly("nbytes", &PackedColumns::bytes)
        .def_property_readonly("zero_columns",
                               [](const PackedColumns& packed) { return to_array(packed.zero_columns()); });

    module.def(
        "column_cosine",
        [](const PackedColumns& x, const PackedColumns* y, int64_t bins) {
            ColumnCosine found;
            {
                const py::gil_scoped_release release;
                found = y == nullptr ? column_cosine(x, bins) : column_cosine(x, *y, bins);
            }
            return py::make_tuple(to_array(std::move(found.counts)), to_array(std::move(found.max_abs_x)),
                                  to_array(std::move(found.max_abs_y)), to_array(std::move(found.argmax_x)),
                                  to_array(std::move(found.argmax_y)));
        },
        py::arg("x"), py::arg("y").none(true), py::arg("bins"));
}

}  // namespace lmscope::bindings
