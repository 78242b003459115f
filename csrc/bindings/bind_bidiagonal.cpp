#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "lmscope/bidiagonal.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

// The Python module converts and checks the shapes; the casters here only refuse what it would not send.
using Doubles = py::array_t<double, py::array::c_style>;
using Integers = py::array_t<int64_t, py::array::c_style>;

BidiagonalBatch batch_of(const Doubles& diagonal, const Doubles& off_diagonal) {
    return {diagonal.data(), off_diagonal.data(), diagonal.shape(0), diagonal.shape(1)};
}

py::array_t<int64_t> count_below_of(const Doubles& diagonal, const Doubles& off_diagonal, const Doubles& thresholds) {
    const BidiagonalBatch matrices = batch_of(diagonal, off_diagonal);
    py::array_t<int64_t> counts({thresholds.shape(0), thresholds.shape(1)});
    const double* source = thresholds.data();
    int64_t* target = counts.mutable_data();
    const int64_t per_matrix = thresholds.shape(1);
    {
        const py::gil_scoped_release release;
        count_below(matrices, source, per_matrix, target);
    }
    return counts;
}

py::array_t<double> order_statistics_of(const Doubles& diagonal, const Doubles& off_diagonal, const Integers& ranks,
                                        double rtol) {
    const BidiagonalBatch matrices = batch_of(diagonal, off_diagonal);
    py::array_t<double> values({diagonal.shape(0), ranks.shape(0)});
    const int64_t* source = ranks.data();
    double* target = values.mutable_data();
    const int64_t rank_count = ranks.shape(0);
    {
        const py::gil_scoped_release release;
        order_statistics(matrices, source, rank_count, rtol, target);
    }
    return values;
}

}  // namespace

void bind_bidiagonal(py::module_& module) {
    module.def("bidiagonal_count_below", &count_below_of, py::arg("diagonal").noconvert(),
               py::arg("off_diagonal").noconvert(), py::arg("thresholds").noconvert());
    module.def("bidiagonal_order_statistics", &order_statistics_of, py::arg("diagonal").noconvert(),
               py::arg("off_diagonal").noconvert(), py::arg("ranks").noconvert(), py::arg("rtol"));
}

}  // namespace lmscope::bindings
