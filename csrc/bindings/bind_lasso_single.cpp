#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <limits>
#include <optional>
#include <utility>

#include "bindings/arrays.h"
#include "bindings/intake.h"
#include "lmscope/lasso_homotopy.h"
#include "lmscope/lasso_path.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

const char* name_of(PathEnd end) {
    return end == PathEnd::alpha_zero ? "alpha_zero" : end == PathEnd::limit ? "limit" : "rounding";
}

py::tuple to_python(HomotopyPath&& path) {
    return py::make_tuple(to_array(std::move(path.alphas)), to_array(std::move(path.events)),
                          to_array(std::move(path.coefs)), to_array(std::move(path.dependent)), name_of(path.end),
                          to_array(std::move(path.signs)));
}

}  // namespace

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
    module.def(
        "lasso_homotopy",
        [](py::handle x, py::handle y, int64_t most_events, std::optional<int64_t> most_nonzeros, bool keep_coefs) {
            const Intake design(x, "x"), target(y, "y");
            HomotopyPath path;
            {
                const py::gil_scoped_release release;
                path = lasso_homotopy(design.view(), target.view(),
                                      {most_events, most_nonzeros.value_or(unlimited), keep_coefs});
            }
            return to_python(std::move(path));
        },
        py::arg("x"), py::arg("y"), py::arg("most_events"), py::arg("most_nonzeros"), py::arg("keep_coefs"));
    module.def(
        "lasso_prefix_homotopy",
        [](py::handle tokens, const std::vector<int64_t>& positions, int64_t most_events,
           std::optional<int64_t> most_nonzeros) {
            const Intake intake(tokens, "tokens");
            std::vector<HomotopyPath> paths;
            {
                const py::gil_scoped_release release;
                paths = lasso_prefix_homotopy(intake.view(), positions,
                                              {most_events, most_nonzeros.value_or(unlimited), false});
            }
            py::list found;
            for (HomotopyPath& path : paths) found.append(to_python(std::move(path)));
            return found;
        },
        py::arg("tokens"), py::arg("positions"), py::arg("most_events"), py::arg("most_nonzeros"));
}

}  // namespace lmscope::bindings
