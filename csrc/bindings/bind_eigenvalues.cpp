#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <vector>

#include "bindings/intake.h"
#include "lmscope/symmetric_eigenvalues.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

py::tuple symmetric_eigenvalues_of(py::handle a) {
    const Intake intake(a, "a", Dimensions::matrix_or_stack);
    const MatrixStack& stack = intake.stack();
    std::vector<py::ssize_t> shape{stack.first.rows};
    if (intake.is_stack()) shape.insert(shape.begin(), stack.count);
    py::array_t<double> values(shape);
    py::array_t<double> bounds(shape);
    double* values_target = values.mutable_data();
    double* bounds_target = bounds.mutable_data();
    {
        const py::gil_scoped_release release;
        symmetric_eigenvalues(stack, values_target, bounds_target);
    }
    return py::make_tuple(values, bounds);
}

}  // namespace

void bind_eigenvalues(py::module_& module) {
    module.def("symmetric_eigenvalues", &symmetric_eigenvalues_of, py::arg("a"));
}

}  // namespace lmscope::bindings
