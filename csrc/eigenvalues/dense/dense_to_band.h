#pragma once

#include <cstdint>

#include "eigenvalues/band/band.h"

namespace lmscope::eigenvalues {

// A band matrix with the eigenvalues of the dense symmetric one whose lower triangle is given (column-major, without
// gaps) and destroyed. The same bits for any number of threads.
Band dense_to_band(int64_t order, double* matrix);

}  // namespace lmscope::eigenvalues
