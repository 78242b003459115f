#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "lasso/design.h"
#include "lasso/homotopy.h"
#include "lasso/range.h"
#include "lmscope/error.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "runtime/gram/gram.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

// Both triangles of X^T X, of X times 2^-exponent.
AlignedBuffer whole_gram(const MatrixView& x, int exponent) {
    AlignedBuffer gram(x.columns * x.columns);
    std::fill_n(gram.data(), x.columns * x.columns, 0.0);
    add_gram(x, elements::chunk_rows(x.columns), exponent, gram.data());
    copy_lower_to_upper(x.columns, gram.data());
    return gram;
}

void scale(HomotopyPath& path, int64_t samples, int alpha_exponent, int coef_exponent) {
    for (double& alpha : path.alphas) alpha = std::ldexp(alpha / static_cast<double>(samples), alpha_exponent);
    for (double& coef : path.coefs) coef = std::ldexp(coef, coef_exponent);
}

void require_settings(const HomotopySettings& settings) {
    if (settings.most_events < 1 || settings.most_nonzeros < 1)
        throw InvalidArgument("the steps of a path must be at least 1, got " +
                              std::to_string(std::min(settings.most_events, settings.most_nonzeros)));
}

}  // namespace

HomotopyPath lasso_homotopy(const MatrixView& x, const MatrixView& y, const HomotopySettings& settings) {
    lasso::single::require_problem(x, y);
    require_settings(settings);
    const lasso::single::Design design(x, false, "x");
    const lasso::single::Design target(y, false, "y");
    std::vector<double> wide(static_cast<size_t>(y.rows));
    target.copy_columns({0}, wide.data());
    const std::vector<double> correlations = design.products(wide.data());
    double largest = 0;
    for (const double value : correlations) largest = std::max(largest, std::fabs(value));
    lasso::single::require_scale(
        target, target.squares()[0], largest,
        std::ldexp(largest / static_cast<double>(x.rows), design.exponent() + target.exponent()));
    const AlignedBuffer gram = whole_gram(x, design.exponent());
    HomotopyPath path = lasso::single::follow_path(x.columns, gram.data(), x.columns, correlations.data(), settings);
    scale(path, x.rows, design.exponent() + target.exponent(), target.exponent() - design.exponent());
    return path;
}

std::vector<HomotopyPath> lasso_prefix_homotopy(const MatrixView& tokens, const std::vector<int64_t>& positions,
                                                const HomotopySettings& settings) {
    require_settings(settings);
    lasso::single::require_matrix(tokens, "tokens");
    elements::require_finite(tokens, "tokens");
    for (const int64_t position : positions)
        if (position < 1 || position >= tokens.rows)
            throw InvalidArgument("positions holds " + std::to_string(position) + "; with " +
                                  std::to_string(tokens.rows) + " tokens they lie between 1 and " +
                                  std::to_string(tokens.rows - 1) + ", as the first token has none before it");
    const int exponent = elements::scale_exponent(tokens);
    const AlignedBuffer gram = whole_gram(tokens.transposed(), exponent);
    lasso::require_range(tokens.transposed(), gram.data(), tokens.rows + 1, exponent, {"tokens", "row"});
    std::vector<HomotopyPath> paths(positions.size());
    const auto count = static_cast<int64_t>(positions.size());
    // The long ones first, so that no thread is left with one at the end.
    std::vector<size_t> order(positions.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] > positions[b]; });
    parallel_for(count, [&](int64_t index) {
        const size_t place = order[static_cast<size_t>(index)];
        HomotopyPath& path = paths[place];
        path = lasso::single::follow_path(positions[place], gram.data(), tokens.rows,
                                          gram.data() + positions[place] * tokens.rows, settings);
        scale(path, tokens.columns, 2 * exponent, 0);
    });
    return paths;
}

}  // namespace lmscope
