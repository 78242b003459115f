#pragma once

#include <cstdint>

#include "lmscope/matrix_view.h"

namespace lmscope::lasso {

// Squared norms outside of this leave no room for products or for relative rounding errors.
constexpr double smallest_square = 0x1p-960;
constexpr double largest_square = 0x1p960;

// What one column is called where the caller's matrix holds it.
struct Named {
    const char* argument;
    const char* line;
};

// Throws InvalidArgument that names the first column, zero ones excepted, with a squared norm outside of the above;
// `squared_norms`, `step` apart, belong to the columns times 2^-exponent.
void require_range(const MatrixView& columns, const double* squared_norms, int64_t step, int exponent,
                   const Named& named);

// Whether column j is zero.
bool is_zero_column(const MatrixView& columns, int64_t j);

}  // namespace lmscope::lasso
