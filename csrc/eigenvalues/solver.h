#pragma once

#include <cstdint>
#include <vector>

namespace lmscope::eigenvalues {

// Ascending eigenvalues of a symmetric matrix stored whole (column-major, without gaps), whose lower triangle is
// destroyed; the strict upper one is left alone. The same bits for any number of threads.
std::vector<double> values_of_symmetric(int64_t order, double* matrix);

}  // namespace lmscope::eigenvalues
