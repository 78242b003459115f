#pragma once

#include <cstdint>

#include "lmscope/matrix_view.h"
#include "runtime/integer_gram/panels.h"

namespace lmscope::integer_gram {

// Whether `add` is faster than the float64 route for such a matrix: its type and shape and the level in use decide,
// never a clock, so that results are the same in every run.
bool pays(const MatrixView& matrix);

// Lower triangle of G += A^T A; returns how many sums were added one after another.
int64_t add(const MatrixView& matrix, double* gram);

// The products of one chunk, in fixed output blocks.
void add_products(const Panels& panels, int64_t columns, const Splitting& splitting, const Products& products,
                  double* gram);

}  // namespace lmscope::integer_gram
