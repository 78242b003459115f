#pragma once

#include <cstdint>

#include "eigenvalues/solver.h"
#include "lmscope/matrix_view.h"
#include "lmscope/singular_values.h"
#include "singular_values/gram.h"

namespace lmscope {

// Recomputes the smallest `count` singular values of `spectrum` (rows >= columns in `matrix`, which `gram` was made of)
// from second passes over the matrix, whose errors are relative to the largest value, not to its square. Values and
// bounds are replaced where the new bound is smaller; false where some bound still exceeds its tolerance and the floor
// that products with the matrix allow.
bool refine_small_tail(const MatrixView& matrix, const Gram& gram, const eigenvalues::BandForm& form, int64_t count,
                       double relative_tolerance, Spectrum& spectrum);

// The same for a matrix of numerical rank columns - count: the leading part is projected out and the remainder's own
// Gram matrix taken.
bool refine_null_tail(const MatrixView& matrix, const Gram& gram, int64_t count, double relative_tolerance,
                      Spectrum& spectrum);

// What a value may miss by before it is worth a second pass.
double tolerance(double value, double largest, double relative_tolerance);

}  // namespace lmscope
