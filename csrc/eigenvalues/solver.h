#pragma once

#include <cstdint>
#include <vector>

namespace lmscope::eigenvalues {

// Ascending eigenvalues of the symmetric matrix whose lower triangle is given (column-major). The same bits for any
// number of threads.
std::vector<double> values_of_symmetric(int64_t order, const double* lower, int64_t stride);

}  // namespace lmscope::eigenvalues
