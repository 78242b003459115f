#pragma once

#include <vector>

namespace lmscope::eigenvalues {

// A symmetric tridiagonal matrix: diagonal of length order, off-diagonal of length order - 1.
struct Tridiagonal {
    std::vector<double> diagonal;
    std::vector<double> off_diagonal;
};

// Ascending eigenvalues, each within a few units of roundoff of the largest magnitude, independent of the order. The
// same bits for any number of threads and on any instruction set.
std::vector<double> values_of(const Tridiagonal& matrix);

}  // namespace lmscope::eigenvalues
