#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/lasso.h"
#include "lmscope/matrix_view.h"

namespace lmscope {

// A piece of an exact path: which columns are in, in the order of their entries, and the signs of their coefficients.
struct SignedSupport {
    double alpha = 0;
    std::vector<int64_t> columns;
    std::vector<double> signs;
};

// The minimum over the columns of the support for its signs, no other column in; the gap is that of the whole problem.
// A column that depends linearly on those before it stays out, and the problem has not converged. No sweeps are done. y
// is samples x 1.
LassoBatch lasso_on_support(const MatrixView& x, const MatrixView& y, const SignedSupport& support,
                            const LassoSettings& settings);

// The same for row positions[i] of `tokens` on the rows before it, all from one Gram matrix.
LassoBatch lasso_prefixes_on_supports(const MatrixView& tokens, const std::vector<int64_t>& positions,
                                      const std::vector<SignedSupport>& supports, const LassoSettings& settings);

}  // namespace lmscope
