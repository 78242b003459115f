#include "lasso/full_sweeps.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"

namespace lmscope::lasso {
namespace {

// Share of the diagonal that keeps dependent columns apart: they then move together until one of them reaches zero.
constexpr double newton_shift = 1e-10;

// The objective less half the squared norm of the target.
double objective(const Lane& lane) {
    const Problem& problem = *lane.problem;
    double sum = 0;
    for (size_t i = 0; i < lane.support.size(); ++i) {
        const int64_t j = lane.support[i];
        sum += problem.threshold * std::fabs(lane.support_coef[i]) -
               0.5 * lane.support_coef[i] * (problem.correlations[j] + lane.gradient[j]);
    }
    return sum;
}

}  // namespace

void sweep_all(const Shared& shared, std::span<Lane* const> lanes, int64_t sweeps, const BatchKernels& kernels) {
    int64_t order = 0;
    for (const Lane* lane : lanes) order = std::max(order, lane->problem->limit);
    AlignedBuffer gradient(order * block_lanes);
    AlignedBuffer coef(order * block_lanes);
    AlignedBuffer change(block_rows * block_lanes);
    double threshold[block_lanes] = {};
    double limit[block_lanes] = {};
    std::fill_n(gradient.data(), order * block_lanes, 0.0);
    std::fill_n(coef.data(), order * block_lanes, 0.0);
    for (size_t l = 0; l < lanes.size(); ++l) {
        const Problem& problem = *lanes[l]->problem;
        threshold[l] = problem.threshold;
        limit[l] = static_cast<double>(problem.limit);
        for (int64_t j = 0; j < problem.limit; ++j) {
            gradient[j * block_lanes + static_cast<int64_t>(l)] = lanes[l]->gradient[j];
            coef[j * block_lanes + static_cast<int64_t>(l)] = problem.coef[j];
        }
    }
    for (int64_t sweep = 0; sweep < sweeps; ++sweep)
        for (int64_t first = 0; first < order; first += block_rows) {
            const int64_t rows = std::min(block_rows, order - first);
            const Block block = {shared.gram,
                                 shared.order,
                                 shared.inverse,
                                 first,
                                 rows,
                                 gradient.data() + first * block_lanes,
                                 coef.data() + first * block_lanes,
                                 change.data(),
                                 threshold,
                                 limit};
            if (kernels.sweep_block(block))
                blas::gemm(blas::Op::none, blas::Op::none, block_lanes, order, rows, -1.0, change.data(), block_lanes,
                           shared.gram + first, shared.order, 1.0, gradient.data(), block_lanes);
        }
    for (size_t l = 0; l < lanes.size(); ++l) {
        Problem& problem = *lanes[l]->problem;
        problem.sweeps += sweeps;
        for (int64_t j = 0; j < problem.limit; ++j) problem.coef[j] = coef[j * block_lanes + static_cast<int64_t>(l)];
    }
}

bool newton_step(const Shared& shared, Lane& lane, const BatchKernels& kernels) {
    Problem& problem = *lane.problem;
    const int64_t size = std::ssize(lane.support);
    const std::vector<int64_t> support = lane.support;
    const std::vector<double> before = lane.support_coef;
    AlignedBuffer factor(size * size);
    AlignedBuffer step(size);
    for (int64_t i = 0; i < size; ++i) {
        const int64_t column = support[static_cast<size_t>(i)];
        for (int64_t k = i; k < size; ++k)
            factor[k + i * size] = shared.gram[support[static_cast<size_t>(k)] + column * shared.order];
        factor[i + i * size] *= 1 + newton_shift;
        step[i] = lane.gradient[column] - std::copysign(problem.threshold, before[static_cast<size_t>(i)]);
    }
    if (size == 0 || !blas::cholesky_lower(size, factor.data(), size)) return false;
    blas::solve_lower(blas::Op::none, size, 1, factor.data(), size, step.data(), size);
    blas::solve_lower(blas::Op::transpose, size, 1, factor.data(), size, step.data(), size);
    double share = 1;
    for (int64_t i = 0; i < size; ++i) {
        const double coef = before[static_cast<size_t>(i)];
        if (coef * (coef + step[i]) <= 0) share = std::min(share, -coef / step[i]);
    }
    const auto move = [&](double length) {
        for (int64_t i = 0; i < size; ++i) {
            const double coef = before[static_cast<size_t>(i)];
            const double after = coef + length * step[i];
            const bool crosses = coef * after <= 0 || -coef / step[i] == length;
            problem.coef[support[static_cast<size_t>(i)]] = crosses ? 0 : after;
        }
        lane.refresh(shared, kernels);
    };
    const double start = objective(lane);
    move(1);
    if (share < 1 && objective(lane) >= start) move(share);
    return share < 1;
}

}  // namespace lmscope::lasso
