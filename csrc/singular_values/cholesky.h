#pragma once

#include <cstdint>

namespace lmscope {

// Lower Cholesky factor in place of the lower triangle, in fixed blocks over our own threads; false where the matrix is
// not positive definite.
bool blocked_cholesky_lower(int64_t order, double* matrix);

}  // namespace lmscope
