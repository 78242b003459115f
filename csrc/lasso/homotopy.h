#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/lasso_homotopy.h"

namespace lmscope::lasso::single {

// ||y - X w||^2 / 2 + bound ||w||_1 from G = X^T X, column-major and whole, and X^T y; `alphas` are bounds.
HomotopyPath follow_path(int64_t count, const double* gram, int64_t stride, const double* correlations,
                         const HomotopySettings& settings);

}  // namespace lmscope::lasso::single
