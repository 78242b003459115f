#pragma once

#include <cstdint>
#include <optional>

#include "lmscope/matrix_view.h"
#include "runtime/integer_gram/panels.h"

namespace lmscope::integer_gram {

// Lower triangle of G += A^T A, where that is faster than the float64 route: the matrix's type and shape and the level
// in use decide, never a clock, so that results are the same in every run. Returns how many sums were added one after
// another, or nothing where G stayed as it was.
std::optional<int64_t> add_if_it_pays(const MatrixView& matrix, double* gram);

// The products of one chunk, in fixed output blocks.
void add_products(const Panels& panels, int64_t columns, const Splitting& splitting, const Products& products,
                  double* gram);

}  // namespace lmscope::integer_gram
