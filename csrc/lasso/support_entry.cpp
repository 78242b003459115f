#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lasso/certificate.h"
#include "lasso/design.h"
#include "lasso/signed_minimum.h"
#include "lasso/single_kernels.h"
#include "lmscope/error.h"
#include "lmscope/lasso_support.h"
#include "runtime/aligned_buffer.h"

namespace lmscope {

LassoBatch lasso_on_support(const MatrixView& x, const MatrixView& y, const SignedSupport& support,
                            const LassoSettings& settings) {
    using lasso::single::loops;
    lasso::single::require_problem(x, y);
    if (!(settings.tolerance > 0))
        throw InvalidArgument("tol must be above 0, got " + std::to_string(settings.tolerance));
    if (settings.most_sweeps < 1)
        throw InvalidArgument("max_iter must be at least 1, got " + std::to_string(settings.most_sweeps));
    const lasso::single::Design design(x, false, "x");
    const lasso::single::Design target(y, false, "y");
    const int64_t rows = x.rows;
    const auto samples = static_cast<double>(rows);
    std::vector<double> wide_y(static_cast<size_t>(rows));
    target.copy_columns({0}, wide_y.data());
    const double square = target.squares()[0];
    std::vector<double> norms = design.squares();
    for (double& norm : norms) norm = std::sqrt(norm);
    std::vector<double> gradient = design.products(wide_y.data());
    double largest = 0;
    for (const double value : gradient) largest = std::max(largest, std::fabs(value));

    // Columns of the support side by side, and where each lies.
    std::vector<int64_t> place(static_cast<size_t>(x.columns), -1);
    for (size_t i = 0; i < support.columns.size(); ++i)
        place[static_cast<size_t>(support.columns[i])] = static_cast<int64_t>(i);
    AlignedBuffer wide(std::max<int64_t>(1, rows * std::ssize(support.columns)));
    design.copy_columns(support.columns, wide.data());
    const auto column = [&](int64_t j) { return wide.data() + place[static_cast<size_t>(j)] * rows; };

    const int exponent = design.exponent() + target.exponent();
    const double bound = std::min(std::ldexp(support.alpha, -exponent) * samples, largest);
    std::vector<double> residual = wide_y;
    const lasso::SignedMinimum found = lasso::signed_minimum(
        support.columns, support.signs, bound, gradient,
        [&](int64_t j, int64_t k) { return loops().dot(rows, column(j), column(k)); },
        [&](const lasso::SignedMinimum& now, std::vector<double>& products) {
            residual = wide_y;
            for (size_t i = 0; i < now.columns.size(); ++i)
                loops().axpy(rows, -now.coef[i], column(now.columns[i]), residual.data());
            products = design.products(residual.data());
        });
    std::vector<double> coef(static_cast<size_t>(x.columns), 0.0);
    for (size_t i = 0; i < found.columns.size(); ++i) coef[static_cast<size_t>(found.columns[i])] = found.coef[i];
    const double error = lasso::rounding(std::ssize(found.columns) + 2) + lasso::rounding(rows + 16);
    const lasso::Gap gap = lasso::duality_gap({x.columns, gradient.data(), coef.data(), norms.data(), std::sqrt(square),
                                               loops().dot(rows, wide_y.data(), residual.data()), bound, error});
    // From alpha_max on zero is the minimum, whatever rounding leaves of a certificate.
    const double upper = found.columns.empty() && bound >= largest ? 0.0 : gap.upper;
    for (double& value : coef) value = std::ldexp(value, target.exponent() - design.exponent());
    LassoBatch batch;
    batch.coef = std::move(coef);
    batch.offsets = {0, x.columns};
    batch.alpha = {std::ldexp(bound / samples, exponent)};
    batch.alpha_max = {std::ldexp(largest / samples, exponent)};
    batch.gap = {std::ldexp(upper / samples, 2 * target.exponent())};
    batch.sweeps = {0};
    batch.converged = {static_cast<uint8_t>(found.complete && upper <= settings.tolerance * square)};
    return batch;
}

}  // namespace lmscope
