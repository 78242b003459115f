#pragma once

#include <cstdint>

#include "eigenvalues/tridiagonal/tridiagonal.h"

namespace lmscope::eigenvalues {

// A tridiagonal matrix with the eigenvalues of the symmetric one given (whole, column-major, without gaps) and
// destroyed, in one stage and on the calling thread alone.
Tridiagonal dense_to_tridiagonal(int64_t order, double* matrix);

}  // namespace lmscope::eigenvalues
