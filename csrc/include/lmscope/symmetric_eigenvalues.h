#pragma once

#include "lmscope/matrix_view.h"

namespace lmscope {

// Eigenvalues, descending, of symmetric matrices, each with an absolute error bound: `values` and `bounds` hold
// matrices.count x order numbers. Of every matrix the lower triangle alone counts; the rest may hold anything.
void symmetric_eigenvalues(const MatrixStack& matrices, double* values, double* bounds);

}  // namespace lmscope
