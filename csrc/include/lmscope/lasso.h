#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

// Everywhere scikit-learn's objective: 1 / (2 samples) ||y - X w||^2 + alpha |w|_1.

struct LassoSettings {
    // Converged: the certified duality gap is at most this times ||y||^2 / samples.
    double tolerance = 1e-6;
    int64_t most_sweeps = 10000;
    // Full cyclic sweeps only, from zero: no active sets, no screening, no Newton steps.
    bool plain = false;
};

// Many problems that share one Gram matrix. Problem i has the coefficients coef[offsets[i]] .. coef[offsets[i + 1]] -
// 1; `gap` is an upper bound of its duality gap, the error of the Gram matrix included.
struct LassoBatch {
    std::vector<double> coef;
    std::vector<int64_t> offsets;
    std::vector<double> alpha;
    std::vector<double> alpha_max;
    std::vector<double> gap;
    std::vector<int64_t> sweeps;
    std::vector<uint8_t> converged;
};

// Row positions[i] of `tokens` on the rows before it; the samples are the columns. `alphas` has one entry per position,
// taken times the problem's own alpha_max where `ratio`.
LassoBatch lasso_prefixes(const MatrixView& tokens, const std::vector<int64_t>& positions,
                          const std::vector<double>& alphas, bool ratio, const LassoSettings& settings);

// Every column of `y` on the columns of `x`; one entry of `alphas` per column of `y`.
LassoBatch lasso_targets(const MatrixView& x, const MatrixView& y, const std::vector<double>& alphas, bool ratio,
                         const LassoSettings& settings);

}  // namespace lmscope
