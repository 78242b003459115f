#pragma once

#include <vector>

#include "singular_values/band_reduction.h"

namespace lmscope {

// Moves ascending approximate eigenvalues of a symmetric tridiagonal matrix of order n to within about one unit
// roundoff of the largest by bisection on Sturm counts, whose own error is a few units, independent of n; the QL
// iteration that gave them is off by a multiple of sqrt(n).
void polish_eigenvalues(const Tridiagonal& matrix, std::vector<double>& eigenvalues);

}  // namespace lmscope
