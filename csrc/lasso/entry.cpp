#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "lasso/certificate.h"
#include "lasso/group.h"
#include "lasso/kernels.h"
#include "lasso/range.h"
#include "lasso/signed_minimum.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "lmscope/lasso.h"
#include "lmscope/lasso_support.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "runtime/gram/gram.h"
#include "runtime/thread_pool.h"

namespace lmscope {

const lasso::BatchKernels& lasso::batch_kernels() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return lasso::batch_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return lasso::batch_avx2;
#endif
    return lasso::batch_scalar;
}

namespace {

using lasso::block_lanes;
using lasso::Problem;
using lasso::Shared;

void require_settings(const LassoSettings& settings) {
    if (!(settings.tolerance > 0 && settings.tolerance < 1))
        throw InvalidArgument("tol must lie between 0 and 1, got " + std::to_string(settings.tolerance));
    if (settings.most_sweeps < 1)
        throw InvalidArgument("max_iter must be at least 1, got " + std::to_string(settings.most_sweeps));
}

void require_alphas(const std::vector<double>& alphas, bool ratio) {
    for (const double alpha : alphas) {
        if (!(alpha > 0 && std::isfinite(alpha)))
            throw InvalidArgument(std::string(ratio ? "alpha_ratio" : "alpha") + " must be positive and finite, got " +
                                  std::to_string(alpha) + "; without a penalty use least squares or ridge regression");
    }
}

void require_matrix(const MatrixView& matrix, const char* argument) {
    active_isa();  // a wrong LMSCOPE_ISA is refused even where this dtype needs no widening
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument(std::string(argument) + " has shape (" + std::to_string(matrix.rows) + ", " +
                              std::to_string(matrix.columns) + "); it needs at least one row and one column");
    if (matrix.device == Device::cuda)
        throw UnsupportedDType(std::string(argument) +
                               " is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
    elements::require_finite(matrix, argument);
}

struct ColumnsGram {
    explicit ColumnsGram(int64_t columns) : order(columns), gram(columns * columns) {
        std::fill_n(gram.data(), columns * columns, 0.0);
    }

    // After the last chunk of rows.
    void complete(int64_t samples, int64_t rows_at_once) {
        copy_lower_to_upper(order, gram.data());
        for (int64_t j = 0; j < order; ++j) {
            const double square = gram[j + j * order];
            inverse.push_back(square > 0 ? 1 / square : 0);
            norms.push_back(std::sqrt(square));
        }
        product_error = lasso::rounding(lasso::gram_roundings(samples, rows_at_once));
    }

    Shared shared() const { return {order, gram.data(), inverse.data(), norms.data(), product_error}; }

    int64_t order;
    AlignedBuffer gram;
    std::vector<double> inverse;
    std::vector<double> norms;
    double product_error = 0;
};

// Problems in groups of neighbours; large groups go first, so that no thread is left with one at the end.
LassoBatch solve_all(const Shared& shared, std::vector<Problem> problems, const std::vector<double>& alphas, bool ratio,
                     int64_t samples, const LassoSettings& settings) {
    const auto scale = static_cast<double>(samples);
    LassoBatch batch;
    batch.offsets.push_back(0);
    for (const Problem& problem : problems) batch.offsets.push_back(batch.offsets.back() + problem.limit);
    batch.coef.resize(static_cast<size_t>(batch.offsets.back()));
    const double largest_norm = *std::max_element(shared.norms, shared.norms + shared.order);
    for (size_t i = 0; i < problems.size(); ++i) {
        double largest = 0;
        for (int64_t j = 0; j < problems[i].limit; ++j)
            largest = std::max(largest, std::fabs(problems[i].correlations[j]));
        // Where all correlations are zero every penalty gives zero; one of their rounding's size can be certified.
        const double threshold =
            !ratio        ? alphas[i] * scale
            : largest > 0 ? alphas[i] * largest
                          : 2 * shared.product_error * std::sqrt(problems[i].target_squared_norm) * largest_norm;
        problems[i].threshold = std::min(threshold, std::numeric_limits<double>::max());
        problems[i].coef = batch.coef.data() + batch.offsets[i];
        if (ratio && !std::isfinite(threshold))
            throw InvalidArgument("alpha_ratio times alpha_max exceeds float64, got " + std::to_string(alphas[i]));
        batch.alpha.push_back(ratio ? threshold / scale : alphas[i]);
        batch.alpha_max.push_back(largest / scale);
    }
    std::vector<size_t> order(problems.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return problems[a].limit > problems[b].limit; });
    std::vector<Problem> sorted;
    for (const size_t i : order) sorted.push_back(problems[i]);
    const auto count = std::ssize(sorted);
    const lasso::BatchKernels& kernels = lasso::batch_kernels();
    parallel_for((count + block_lanes - 1) / block_lanes, [&](int64_t group) {
        const int64_t first = group * block_lanes;
        lasso::solve_group(shared, sorted.data() + first, std::min<int64_t>(block_lanes, count - first), settings,
                           kernels);
    });
    batch.gap.resize(problems.size());
    batch.sweeps.resize(problems.size());
    batch.converged.resize(problems.size());
    for (size_t i = 0; i < order.size(); ++i) {
        batch.gap[order[i]] = sorted[i].gap / scale;
        batch.sweeps[order[i]] = sorted[i].sweeps;
        batch.converged[order[i]] = sorted[i].converged;
    }
    return batch;
}

ColumnsGram prefix_gram(const MatrixView& tokens, const std::vector<int64_t>& positions) {
    require_matrix(tokens, "tokens");
    for (const int64_t position : positions)
        if (position < 1 || position >= tokens.rows)
            throw InvalidArgument("positions holds " + std::to_string(position) + "; with " +
                                  std::to_string(tokens.rows) + " tokens they lie between 1 and " +
                                  std::to_string(tokens.rows - 1) + ", as the first token has none before it");
    const MatrixView columns = tokens.transposed();
    ColumnsGram gram(columns.columns);
    const int64_t rows_at_once = elements::chunk_rows(columns.columns);
    add_gram(columns, rows_at_once, 0, gram.gram.data());
    lasso::require_range(columns, gram.gram.data(), gram.order + 1, 0, {"tokens", "row"});
    gram.complete(columns.rows, rows_at_once);
    return gram;
}

}  // namespace

LassoBatch lasso_prefixes(const MatrixView& tokens, const std::vector<int64_t>& positions,
                          const std::vector<double>& alphas, bool ratio, const LassoSettings& settings) {
    require_settings(settings);
    require_alphas(alphas, ratio);
    const ColumnsGram gram = prefix_gram(tokens, positions);
    std::vector<Problem> problems;
    for (const int64_t position : positions)
        problems.push_back({.limit = position,
                            .correlations = gram.gram.data() + position * gram.order,
                            .target_squared_norm = gram.gram[position * (gram.order + 1)],
                            .threshold = 0,
                            .coef = nullptr});
    return solve_all(gram.shared(), std::move(problems), alphas, ratio, tokens.columns, settings);
}

LassoBatch lasso_prefixes_on_supports(const MatrixView& tokens, const std::vector<int64_t>& positions,
                                      const std::vector<SignedSupport>& supports, const LassoSettings& settings) {
    require_settings(settings);
    const ColumnsGram gram = prefix_gram(tokens, positions);
    const lasso::BatchKernels& kernels = lasso::batch_kernels();
    const auto samples = static_cast<double>(tokens.columns);
    const auto count = std::ssize(positions);
    LassoBatch batch;
    batch.offsets.push_back(0);
    for (const int64_t position : positions) batch.offsets.push_back(batch.offsets.back() + position);
    batch.coef.resize(static_cast<size_t>(batch.offsets.back()));
    for (std::vector<double>* values : {&batch.alpha, &batch.alpha_max, &batch.gap}) values->resize(positions.size());
    batch.sweeps.resize(positions.size());
    batch.converged.resize(positions.size());
    parallel_for(count, [&](int64_t index) {
        const auto i = static_cast<size_t>(index);
        const int64_t limit = positions[i];
        const double* correlations = gram.gram.data() + limit * gram.order;
        const double square = gram.gram[limit * (gram.order + 1)];
        std::vector<double> gradient(correlations, correlations + limit);
        double largest = 0;
        for (const double value : gradient) largest = std::max(largest, std::fabs(value));
        const double bound = std::min(supports[i].alpha * samples, largest);
        const lasso::SignedMinimum found = lasso::signed_minimum(
            supports[i].columns, supports[i].signs, bound, gradient,
            [&](int64_t j, int64_t k) { return gram.gram[j * gram.order + k]; },
            [&](const lasso::SignedMinimum& now, std::vector<double>& products) {
                kernels.gradient(limit, correlations, gram.gram.data(), gram.order, std::ssize(now.columns),
                                 now.columns.data(), now.coef.data(), products.data());
            });
        double* coef = batch.coef.data() + batch.offsets[i];
        double fit = 0;
        for (size_t j = 0; j < found.columns.size(); ++j) {
            coef[found.columns[j]] = found.coef[j];
            fit += found.coef[j] * correlations[found.columns[j]];
        }
        const lasso::Gap gap = lasso::duality_gap(
            {.count = limit,
             .gradient = gradient.data(),
             .coef = coef,
             .column_norms = gram.norms.data(),
             .target_norm = std::sqrt(square),
             .target_dot_residual = square - fit,
             .threshold = bound,
             .relative_error = 1.001 * (gram.product_error + lasso::rounding(std::ssize(found.columns) + 4))});
        // From alpha_max on zero is the minimum, whatever rounding leaves of a certificate.
        const double upper = found.columns.empty() && bound >= largest ? 0.0 : gap.upper;
        batch.alpha[i] = bound / samples;
        batch.alpha_max[i] = largest / samples;
        batch.gap[i] = upper / samples;
        batch.converged[i] = found.complete && upper <= settings.tolerance * square;
    });
    return batch;
}

LassoBatch lasso_targets(const MatrixView& x, const MatrixView& y, const std::vector<double>& alphas, bool ratio,
                         const LassoSettings& settings) {
    require_settings(settings);
    require_alphas(alphas, ratio);
    require_matrix(x, "x");
    require_matrix(y, "y");
    if (x.rows != y.rows)
        throw InvalidArgument("x and y must have the same number of rows, got " + std::to_string(x.rows) + " and " +
                              std::to_string(y.rows));
    ColumnsGram gram(x.columns);
    AlignedBuffer correlations(x.columns * y.columns);
    std::vector<double> squares(static_cast<size_t>(y.columns), 0.0);
    std::fill_n(correlations.data(), x.columns * y.columns, 0.0);
    const int64_t rows_at_once = elements::chunk_rows(x.columns + y.columns);
    AlignedBuffer wide_y(std::min(rows_at_once, x.rows) * y.columns);
    int64_t first = 0;
    for_each_chunk(x, rows_at_once, 0, [&](const elements::Chunk& chunk) {
        const elements::Chunk targets = elements::widen_rows(y, first, chunk.rows, 0, wide_y.data());
        add_chunk(chunk, x.columns, gram.gram.data());
        add_products(chunk, x.columns, targets, y.columns, correlations.data(), squares.data());
        first += chunk.rows;
    });
    lasso::require_range(x, gram.gram.data(), gram.order + 1, 0, {"x", "column"});
    lasso::require_range(y, squares.data(), 1, 0, {"y", "column"});
    gram.complete(x.rows, rows_at_once);
    std::vector<Problem> problems;
    for (int64_t target = 0; target < y.columns; ++target)
        problems.push_back({.limit = x.columns,
                            .correlations = correlations.data() + target * x.columns,
                            .target_squared_norm = squares[static_cast<size_t>(target)],
                            .threshold = 0,
                            .coef = nullptr});
    return solve_all(gram.shared(), std::move(problems), alphas, ratio, x.rows, settings);
}

}  // namespace lmscope
