#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <utility>

#include "bindings/arrays.h"
#include "bindings/intake.h"
#include "lmscope/lasso_path.h"

namespace py = pybind11;

namespace lmscope::bindings {
void bind_lasso_single(py::module_& module) {
    module.def(
        "lasso_path",
        [](py::handle x, py::handle y, const std::vector<double>& alphas, bool relative, bool fit_intercept, double tol,
           int64_t max_iter) {
            const Intake design(x, "x"), target(y, "y");
            LassoPath path;
            {
                const py::gil_scoped_release release;
                path = lasso_path(design.view(), target.view(), {alphas, relative, fit_intercept, tol, max_iter});
            }
            const auto count = static_cast<py::ssize_t>(path.alphas.size());
            return py::dict(
                py::arg("alpha_max") = path.alpha_max, py::arg("alphas") = to_array(std::move(path.alphas)),
                py::arg("coefs") = to_array(std::move(path.coefs)).reshape({count, py::ssize_t{design.view().columns}}),
                py::arg("intercepts") = to_array(std::move(path.intercepts)),
                py::arg("gaps") = to_array(std::move(path.gaps)), py::arg("n_iter") = to_array(std::move(path.n_iter)),
                py::arg("converged") = to_array(std::move(path.converged)).attr("view")("bool"));
        },
        py::arg("x"), py::arg("y"), py::arg("alphas"), py::arg("relative"), py::arg("fit_intercept"), py::arg("tol"),
        py::arg("max_iter"));
}

}  // namespace lmscope::bindings
