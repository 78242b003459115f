#pragma once

#include <vector>

#include "eigenvalues/tridiagonal/tridiagonal.h"

namespace lmscope::eigenvalues {

// Ascending eigenvalues, each to within one unit roundoff of the largest magnitude beside the error of a Sturm count, a
// few more. The same bits for any number of threads and on any instruction set.
std::vector<double> bisected_values(const Tridiagonal& matrix);

}  // namespace lmscope::eigenvalues
