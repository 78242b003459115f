#pragma once

#include <cstdint>
#include <vector>

namespace lmscope::eigenvalues {

// Matrices up to this order go to tridiagonal form at once, on the calling thread alone: README.md has the times.
constexpr int64_t most_in_one_stage = 512;

// Ascending eigenvalues of the symmetric matrix whose lower triangle is given (column-major). The same bits for any
// number of threads.
std::vector<double> values_of_symmetric(int64_t order, const double* lower, int64_t stride);

}  // namespace lmscope::eigenvalues
