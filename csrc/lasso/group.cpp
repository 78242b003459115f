#include "lasso/group.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "lasso/certificate.h"
#include "lasso/full_sweeps.h"
#include "lasso/lane.h"
#include "lasso/pack.h"

namespace lmscope::lasso {
namespace {

constexpr int64_t first_working_set = 16;
constexpr int64_t sweeps_between_checks = 10;
// In a row, where each but the last one ends at a coefficient's change of sign.
constexpr int most_newton_steps = 50;

class Group {
public:
    Group(const Shared& shared, Problem* problems, int64_t count, const LassoSettings& settings,
          const BatchKernels& kernels)
        : shared_(shared), settings_(settings), kernels_(kernels), lanes_(static_cast<size_t>(count)) {
        for (int64_t i = 0; i < count; ++i) {
            Lane& lane = lanes_[static_cast<size_t>(i)];
            lane.problem = problems + i;
            lane.screened.assign(static_cast<size_t>(problems[i].limit), 0);
            lane.gradient = AlignedBuffer(problems[i].limit);
            std::fill_n(problems[i].coef, problems[i].limit, 0.0);
        }
    }

    void solve() {
        PackSolver packs(shared_, settings_, kernels_);
        for (;;) {
            std::vector<Lane*> sparse;
            std::vector<Lane*> dense;
            for (Lane& lane : lanes_)
                if (lane.open && !finished(lane)) {
                    if (!settings_.plain) choose_working_set(lane);
                    const bool fits = !settings_.plain && std::ssize(lane.working_set) <= largest_working_set;
                    (fits ? sparse : dense).push_back(&lane);
                }
            if (sparse.empty() && dense.empty()) return;
            std::stable_sort(sparse.begin(), sparse.end(), [](const Lane* a, const Lane* b) {
                return a->working_set.size() < b->working_set.size();
            });
            for (std::span<Lane* const> rest = sparse; !rest.empty();) {
                const size_t now = std::min<size_t>(pack_lanes, rest.size());
                packs.solve(rest.first(now));
                rest = rest.subspan(now);
            }
            if (!dense.empty()) solve_dense(dense);
        }
    }

private:
    // The gradient from scratch and the certificate; closes the lane where it holds, where rounding alone keeps it from
    // holding, or where the sweeps are used up.
    bool finished(Lane& lane) {
        Problem& problem = *lane.problem;
        lane.refresh(shared_, kernels_);
        double correlation = 0;
        for (size_t i = 0; i < lane.support.size(); ++i)
            correlation += lane.support_coef[i] * problem.correlations[lane.support[i]];
        const Gap gap =
            duality_gap({.count = problem.limit,
                         .gradient = lane.gradient.data(),
                         .coef = problem.coef,
                         .column_norms = shared_.norms,
                         .target_norm = std::sqrt(problem.target_squared_norm),
                         .target_dot_residual = problem.target_squared_norm - correlation,
                         .threshold = problem.threshold,
                         .relative_error = 1.001 * (shared_.product_error + rounding(std::ssize(lane.support) + 4))});
        const double goal = settings_.tolerance * problem.target_squared_norm;
        const bool rounding_decides = gap.upper > goal && gap.computed < 0.01 * (gap.upper - gap.computed);
        problem.gap = gap.upper;
        problem.converged = gap.upper <= goal;
        lane.open = !problem.converged && !rounding_decides && problem.sweeps < settings_.most_sweeps;
        lane.inner_goal = std::max(0.3 * goal, 0.03 * gap.computed);
        if (lane.open && !settings_.plain) screen(lane, gap);
        return !lane.open;
    }

    // Gap-safe sphere: a column whose product with every dual point in reach stays below the threshold has coefficient
    // zero in the solution.
    void screen(Lane& lane, const Gap& gap) const {
        const double radius = std::sqrt(2 * gap.upper) + gap.scale * gap.gradient_error;
        for (int64_t j = 0; j < lane.problem->limit; ++j)
            if (gap.scale * std::fabs(lane.gradient[j]) + radius * shared_.norms[j] < lane.problem->threshold)
                lane.screened[static_cast<size_t>(j)] = 1;
    }

    // The support and, of the columns that violate the optimality conditions, those that do so most.
    void choose_working_set(Lane& lane) {
        const Problem& problem = *lane.problem;
        std::vector<std::pair<double, int64_t>> violators;
        for (int64_t j = 0; j < problem.limit; ++j)
            if (problem.coef[j] == 0 && shared_.inverse[j] > 0 && !lane.screened[static_cast<size_t>(j)] &&
                std::fabs(lane.gradient[j]) > problem.threshold)
                violators.emplace_back(-std::fabs(lane.gradient[j]) * std::sqrt(shared_.inverse[j]), j);
        const auto wanted = static_cast<size_t>(std::max<int64_t>(first_working_set, std::ssize(lane.support)));
        if (violators.size() > wanted) {
            std::nth_element(violators.begin(), violators.begin() + static_cast<int64_t>(wanted), violators.end());
            violators.resize(wanted);
        }
        lane.working_set = lane.support;
        for (const auto& [size, j] : violators) lane.working_set.push_back(j);
        std::sort(lane.working_set.begin(), lane.working_set.end());
    }

    void solve_dense(const std::vector<Lane*>& lanes) {
        int64_t sweeps = sweeps_between_checks;
        for (const Lane* lane : lanes) sweeps = std::min(sweeps, settings_.most_sweeps - lane->problem->sweeps);
        sweep_all(shared_, lanes, sweeps, kernels_);
        if (settings_.plain) return;
        for (Lane* lane : lanes) {
            lane->refresh(shared_, kernels_);
            for (int i = 0; i < most_newton_steps && newton_step(shared_, *lane, kernels_); ++i) continue;
        }
    }

    const Shared& shared_;
    const LassoSettings& settings_;
    const BatchKernels& kernels_;
    std::vector<Lane> lanes_;
};

}  // namespace

void Lane::refresh(const Shared& shared, const BatchKernels& kernels) {
    support.clear();
    support_coef.clear();
    for (int64_t j = 0; j < problem->limit; ++j)
        if (problem->coef[j] != 0) {
            support.push_back(j);
            support_coef.push_back(problem->coef[j]);
        }
    kernels.gradient(problem->limit, problem->correlations, shared.gram, shared.order, std::ssize(support),
                     support.data(), support_coef.data(), gradient.data());
}

void solve_group(const Shared& shared, Problem* problems, int64_t count, const LassoSettings& settings,
                 const BatchKernels& kernels) {
    Group(shared, problems, count, settings, kernels).solve();
}

}  // namespace lmscope::lasso
