#pragma once

#include <cstdint>
#include <vector>

namespace lmscope {

// A symmetric matrix's tridiagonal form: diagonal of length order, off-diagonal of length order - 1.
struct Tridiagonal {
    std::vector<double> diagonal;
    std::vector<double> off_diagonal;
};

// Dense to band to tridiagonal from the lower triangle, which is destroyed; the strict upper triangle is left alone.
// All level-3 work runs in fixed blocks over our own threads: the same bits for any number of them.
Tridiagonal tridiagonalize_lower(int64_t order, double* matrix);

// Lower Cholesky factor in place of the lower triangle, in fixed blocks over our own threads; false where the matrix is
// not positive definite.
bool blocked_cholesky_lower(int64_t order, double* matrix);

}  // namespace lmscope
