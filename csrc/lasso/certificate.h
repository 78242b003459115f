#pragma once

#include <cstdint>

namespace lmscope::lasso {

// gamma_n = n u / (1 - n u): the relative error of n roundings in a row, whatever their signs.
double rounding(int64_t roundings);

// Roundings that a product of two columns of `samples` elements passes in the Gram matrix of runtime/gram/gram.h, where
// the rows come in chunks of `chunk_rows`.
int64_t gram_roundings(int64_t samples, int64_t chunk_rows);

// One problem 1/2 ||y - X w||^2 + threshold |w|_1 and a point of it. `gradient` is X^T (y - X w) as computed; element j
// is off by at most relative_error ||x_j|| (||y|| + sum |w_k| ||x_k||). So is y^T (y - X w), with ||y|| for ||x_j||.
struct Point {
    int64_t count;
    const double* gradient;
    const double* coef;
    const double* column_norms;
    double target_norm;
    double target_dot_residual;
    double threshold;
    double relative_error;
};

// `upper` bounds the duality gap from above, all rounding included; `computed` is the gap without those terms. The dual
// point is the residual times `scale`; element j of the gradient is off by at most gradient_error ||x_j||.
struct Gap {
    double upper;
    double computed;
    double scale;
    double gradient_error;
};
Gap duality_gap(const Point& point);

}  // namespace lmscope::lasso
