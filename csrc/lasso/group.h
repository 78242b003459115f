#pragma once

#include <cstdint>

#include "lasso/kernels.h"
#include "lmscope/lasso.h"

namespace lmscope::lasso {

// What all problems share: the Gram matrix of the columns, column-major with both triangles, and per column 1 / G_jj (0
// for a zero column) and the norm.
struct Shared {
    int64_t order;
    const double* gram;
    const double* inverse;
    const double* norms;
    // gamma of the products in `gram` and of the correlations.
    double product_error;
};

// 1/2 ||y - X w||^2 + threshold |w|_1 on the first `limit` columns, X^T y in `correlations`.
struct Problem {
    int64_t limit;
    const double* correlations;
    double target_squared_norm;
    double threshold;
    // Where the solution goes, `limit` elements.
    double* coef;
    double gap = 0;
    int64_t sweeps = 0;
    bool converged = false;
};

// Solves at most `block_lanes` problems together on the calling thread. The tolerance is relative to the squared norm
// of the target.
void solve_group(const Shared& shared, Problem* problems, int64_t count, const LassoSettings& settings,
                 const BatchKernels& kernels);

}  // namespace lmscope::lasso
