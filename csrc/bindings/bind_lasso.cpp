#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/intake.h"
#include "lmscope/lasso.h"
#include "lmscope/lasso_support.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

// The Python module converts and checks the shapes; the casters here only refuse what it would not send.
using Doubles = py::array_t<double, py::array::c_style>;
using Integers = py::array_t<int64_t, py::array::c_style>;

template <typename Value>
std::vector<Value> to_vector(const py::array_t<Value, py::array::c_style>& array) {
    return std::vector<Value>(array.data(), array.data() + array.size());
}

py::tuple to_python(LassoBatch&& batch) {
    std::vector<uint8_t> converged = std::move(batch.converged);
    return py::make_tuple(to_array(std::move(batch.coef)), to_array(std::move(batch.offsets)),
                          to_array(std::move(batch.alpha)), to_array(std::move(batch.alpha_max)),
                          to_array(std::move(batch.gap)), to_array(std::move(batch.sweeps)),
                          to_array(std::move(converged)).attr("view")("bool"));
}

SignedSupport to_support(const std::tuple<double, Integers, Doubles>& given) {
    const auto& [alpha, columns, signs] = given;
    return {alpha, to_vector(columns), to_vector(signs)};
}

}  // namespace

void bind_lasso(py::module_& module) {
    module.def(
        "lasso_prefixes",
        [](py::handle tokens, const Integers& positions, const Doubles& alphas, bool ratio, double tol,
           int64_t max_iter, bool plain) {
            const Intake intake(tokens, "tokens");
            const std::vector<int64_t> wanted = to_vector(positions);
            const std::vector<double> penalties = to_vector(alphas);
            LassoBatch found;
            {
                const py::gil_scoped_release release;
                found = lasso_prefixes(intake.view(), wanted, penalties, ratio, {tol, max_iter, plain});
            }
            return to_python(std::move(found));
        },
        py::arg("tokens"), py::arg("positions").noconvert(), py::arg("alphas").noconvert(), py::arg("ratio"),
        py::arg("tol"), py::arg("max_iter"), py::arg("plain") = false);
    module.def(
        "lasso_targets",
        [](py::handle x, py::handle y, const Doubles& alphas, bool ratio, double tol, int64_t max_iter, bool plain) {
            const Intake intake_x(x, "x");
            const Intake intake_y(y, "y");
            const std::vector<double> penalties = to_vector(alphas);
            LassoBatch found;
            {
                const py::gil_scoped_release release;
                found = lasso_targets(intake_x.view(), intake_y.view(), penalties, ratio, {tol, max_iter, plain});
            }
            return to_python(std::move(found));
        },
        py::arg("x"), py::arg("y"), py::arg("alphas").noconvert(), py::arg("ratio"), py::arg("tol"),
        py::arg("max_iter"), py::arg("plain") = false);
    module.def(
        "lasso_on_support",
        [](py::handle x, py::handle y, const std::tuple<double, Integers, Doubles>& support, double tol,
           int64_t max_iter) {
            const Intake intake_x(x, "x");
            const Intake intake_y(y, "y");
            const SignedSupport wanted = to_support(support);
            LassoBatch found;
            {
                const py::gil_scoped_release release;
                found = lasso_on_support(intake_x.view(), intake_y.view(), wanted, {tol, max_iter});
            }
            return to_python(std::move(found));
        },
        py::arg("x"), py::arg("y"), py::arg("support"), py::arg("tol"), py::arg("max_iter"));
    module.def(
        "lasso_prefixes_on_supports",
        [](py::handle tokens, const Integers& positions,
           const std::vector<std::tuple<double, Integers, Doubles>>& supports, double tol, int64_t max_iter) {
            const Intake intake(tokens, "tokens");
            const std::vector<int64_t> wanted = to_vector(positions);
            std::vector<SignedSupport> signed_supports;
            for (const auto& support : supports) signed_supports.push_back(to_support(support));
            LassoBatch found;
            {
                const py::gil_scoped_release release;
                found = lasso_prefixes_on_supports(intake.view(), wanted, signed_supports, {tol, max_iter});
            }
            return to_python(std::move(found));
        },
        py::arg("tokens"), py::arg("positions").noconvert(), py::arg("supports"), py::arg("tol"), py::arg("max_iter"));
}

}  // namespace lmscope::bindings
