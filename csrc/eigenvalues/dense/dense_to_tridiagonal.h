#pragma once

#include <cstdint>

#include "eigenvalues/tridiagonal/tridiagonal.h"

namespace lmscope::eigenvalues {

// A tridiagonal matrix with the eigenvalues, less `shift`, of the symmetric one whose lower triangle is given
// (column-major), in one stage and on the calling thread alone.
Tridiagonal dense_to_tridiagonal(int64_t order, const double* lower, int64_t stride, double shift);

}  // namespace lmscope::eigenvalues
