#include <pybind11/pybind11.h>

namespace lmscope::bindings {

void bind_bidiagonal(pybind11::module_& module);
void bind_column_cosine(pybind11::module_& module);
void bind_eigenvalues(pybind11::module_& module);
void bind_lasso(pybind11::module_& module);
void bind_lasso_single(pybind11::module_& module);
void bind_nulls(pybind11::module_& module);
void bind_runtime(pybind11::module_& module);
void bind_singular_values(pybind11::module_& module);
void bind_singular_vectors(pybind11::module_& module);

}  // namespace lmscope::bindings

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    module.doc() = "Compiled kernels of lmscope; the public names live in lmscope and lmscope.kernels.";
    lmscope::bindings::bind_bidiagonal(module);
    lmscope::bindings::bind_column_cosine(module);
    lmscope::bindings::bind_eigenvalues(module);
    lmscope::bindings::bind_lasso(module);
    lmscope::bindings::bind_lasso_single(module);
    lmscope::bindings::bind_nulls(module);
    lmscope::bindings::bind_runtime(module);
    lmscope::bindings::bind_singular_values(module);
    lmscope::bindings::bind_singular_vectors(module);
}
