#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

struct LassoPathSettings {
    // Taken in this order, each started from the solution before; positive.
    std::vector<double> alphas;
    // Whether they are shares of alpha_max.
    bool relative = false;
    bool fit_intercept = false;
    // Converged is a gap of at most tol ||y||^2 / samples.
    double tol = 1e-6;
    // Sweeps for each alpha.
    int64_t max_iter = 0;
};

// min (1/(2 samples)) ||y - intercept - X w||^2 + alpha ||w||_1 at each alpha.
struct LassoPath {
    double alpha_max = 0;
    std::vector<double> alphas;
    std::vector<double> coefs;  // alpha after alpha, `features` each
    std::vector<double> intercepts;
    // At least the true duality gap: rounding errors are in it.
    std::vector<double> gaps;
    std::vector<int64_t> n_iter;
    std::vector<uint8_t> converged;
};

// y is samples x 1.
LassoPath lasso_path(const MatrixView& x, const MatrixView& y, const LassoPathSettings& settings);

}  // namespace lmscope
