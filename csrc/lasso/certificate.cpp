#include "lasso/certificate.h"

#include <algorithm>
#include <cmath>

#include "runtime/gram/gram.h"

namespace lmscope::lasso {

namespace {

// Covers the few operations between the sums and the gap.
constexpr double own_rounding = 1 + 0x1p-48;

}  // namespace

double rounding(int64_t roundings) {
    const double share = static_cast<double>(roundings) * 0x1p-53;
    return share / (1 - share);
}

int64_t gram_roundings(int64_t samples, int64_t chunk_rows) {
    const int64_t in_run = std::min(samples, gram_run);
    const int64_t runs = (std::min(samples, chunk_rows) + gram_run - 1) / gram_run;
    const int64_t chunks = (samples + chunk_rows - 1) / chunk_rows;
    return 1 + in_run + runs + chunks;
}

Gap duality_gap(const Point& point) {
    double largest = 0;
    double largest_upper = 0;
    double l1 = 0;
    double fit = 0;
    double fit_size = 0;
    double reach = 0;
    for (int64_t j = 0; j < point.count; ++j) reach += std::fabs(point.coef[j]) * point.column_norms[j];
    const double residual_size = point.target_norm + reach;
    const double error = point.relative_error * residual_size;
    for (int64_t j = 0; j < point.count; ++j) {
        const double magnitude = std::fabs(point.gradient[j]);
        const double product = point.coef[j] * point.gradient[j];
        largest = std::max(largest, magnitude);
        largest_upper = std::max(largest_upper, magnitude + error * point.column_norms[j]);
        l1 += std::fabs(point.coef[j]);
        fit += product;
        fit_size += std::fabs(product);
    }
    // The dual point is the residual times s. With R = X^T r: gap = (1 - s)^2 / 2 y^T r + threshold |w|_1 -
    // (1 + s^2) / 2 w^T R, in which nothing of the size of ||y||^2 cancels.
    const auto gap = [&](double s, double target_dot_residual) {
        return 0.5 * (1 - s) * (1 - s) * target_dot_residual + (point.threshold * l1 - 0.5 * (1 + s * s) * fit);
    };
    largest_upper *= own_rounding;
    const double s = largest_upper <= point.threshold ? 1 : point.threshold / largest_upper;
    const double s_computed = largest <= point.threshold ? 1 : point.threshold / largest;
    const double sums = rounding(point.count + 8) * (point.threshold * l1 + fit_size);
    const double upper =
        gap(s, point.target_dot_residual + error * point.target_norm) + 0.5 * (1 + s * s) * error * reach + sums;
    return {std::max(0.0, upper * own_rounding), std::max(0.0, gap(s_computed, point.target_dot_residual)), s, error};
}

}  // namespace lmscope::lasso
