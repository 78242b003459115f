#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "bindings/intake.h"
#include "lmscope/entry_statistics.h"
#include "lmscope/randomized_nulls.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

template <typename Value>
py::array_t<Value> to_array(const std::vector<Value>& values) {
    return py::array_t<Value>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <typename Kernel>
py::tuple top_values(Kernel&& kernel, py::handle w, int64_t draws, uint64_t seed, double rtol) {
    const Intake intake(w, "w");
    TopValues found;
    {
        const py::gil_scoped_release release;
        found = kernel(intake.view(), draws, seed, rtol);
    }
    return py::make_tuple(to_array(found.values), to_array(found.bounds), to_array(found.steps));
}

// The stored elements as unsigned integers of their size; Python gives them their dtype back.
template <typename Element>
py::array permuted(const Intake& intake, uint64_t seed, uint64_t draw) {
    py::array_t<Element> target({intake.view().rows, intake.view().columns});
    Element* data = target.mutable_data();
    {
        const py::gil_scoped_release release;
        permute_entries(intake.view(), seed, draw, data);
    }
    return target;
}

}  // namespace

void bind_nulls(py::module_& module) {
    module.def(
        "sign_flip_top_values",
        [](py::handle w, int64_t draws, uint64_t seed, double rtol) {
            return top_values(&sign_flip_top_values, w, draws, seed, rtol);
        },
        py::arg("w"), py::arg("draws"), py::arg("seed"), py::arg("rtol"));
    module.def(
        "permutation_top_values",
        [](py::handle w, int64_t draws, uint64_t seed, double rtol) {
            return top_values(&permutation_top_values, w, draws, seed, rtol);
        },
        py::arg("w"), py::arg("draws"), py::arg("seed"), py::arg("rtol"));
    module.def(
        "permute_entries",
        [](py::handle w, uint64_t seed, uint64_t draw) -> py::array {
            const Intake intake(w, "w");
            switch (size_in_bytes(intake.view().dtype)) {
                case 8:
                    return permuted<uint64_t>(intake, seed, draw);
                case 4:
                    return permuted<uint32_t>(intake, seed, draw);
                default:
                    return permuted<uint16_t>(intake, seed, draw);
            }
        },
        py::arg("w"), py::arg("seed"), py::arg("draw"));
    module.def(
        "entry_statistics",
        [](py::handle w) {
            const Intake intake(w, "w");
            EntryStatistics found;
            {
                const py::gil_scoped_release release;
                found = entry_statistics(intake.view());
            }
            return py::dict(py::arg("exponent") = found.exponent, py::arg("largest") = found.largest,
                            py::arg("mean") = found.mean, py::arg("central2") = found.central2,
                            py::arg("central3") = found.central3, py::arg("central4") = found.central4,
                            py::arg("row_sums") = to_array(found.row_sums),
                            py::arg("row_squares") = to_array(found.row_squares),
                            py::arg("column_sums") = to_array(found.column_sums),
                            py::arg("column_squares") = to_array(found.column_squares));
        },
        py::arg("w"));
}

}  // namespace lmscope::bindings
