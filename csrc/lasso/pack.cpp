#include "lasso/pack.h"

#include <algorithm>
#include <utility>

namespace lmscope::lasso {
namespace {

constexpr int64_t most_sweeps_at_once = 100;
// In a row, where each but the last one ends at a coefficient's change of sign.
constexpr int most_newton_steps = 16;

// Sweeps that cost about as much as the Newton step behind them.
int64_t sweeps_before_newton(int64_t order) { return 3 + order / 16; }

}  // namespace

void PackSolver::solve(std::span<Lane* const> lanes) {
    int64_t order = 1;
    int64_t most = most_sweeps_at_once;
    for (const Lane* lane : lanes) {
        order = std::max(order, std::ssize(lane->working_set));
        most = std::min(most, settings_.most_sweeps - lane->problem->sweeps);
    }
    reserve(order);
    gather(lanes);
    int64_t sweeps = 0;
    while (sweeps < most) {
        const int64_t now = std::min(most - sweeps, sweeps_before_newton(order));
        for (int64_t i = 0; i < now; ++i) kernels_.sweep(pack_);
        sweeps += now;
        if (!above_goal(lanes)) break;
        for (int i = 0; i < most_newton_steps && kernels_.newton(pack_); ++i) continue;
        if (!above_goal(lanes)) break;
    }
    for (size_t l = 0; l < lanes.size(); ++l) {
        Problem& problem = *lanes[l]->problem;
        problem.sweeps += sweeps;
        const double* coef = pack_.coef + l;
        for (const int64_t j : lanes[l]->working_set) {
            problem.coef[j] = *coef;
            coef += pack_lanes;
        }
    }
}

bool PackSolver::above_goal(std::span<Lane* const> lanes) const {
    double gaps[pack_lanes];
    kernels_.gaps(pack_, gaps);
    for (size_t l = 0; l < lanes.size(); ++l)
        if (gaps[l] > lanes[l]->inner_goal) return true;
    return false;
}

void PackSolver::reserve(int64_t order) {
    pack_.order = order;
    if (order <= capacity_) return;
    capacity_ = std::min(largest_working_set, order + order / 2);
    const int64_t n = capacity_;
    const int64_t triangle = (n + 1) * (n + 2) / 2;
    memory_ = AlignedBuffer(pack_lanes * (n * n + triangle + 5 * n));
    support_.resize(static_cast<size_t>(pack_lanes * n));
    columns_.resize(static_cast<size_t>(pack_lanes * n));
    double* at = memory_.data();
    const auto take = [&](int64_t elements) { return std::exchange(at, at + pack_lanes * elements); };
    pack_.gram = take(n * n);
    pack_.factor = take(triangle);
    pack_.inverse = take(n);
    pack_.correlations = take(n);
    pack_.gradient = take(n);
    pack_.coef = take(n);
    pack_.step = take(n);
    pack_.support = support_.data();
}

void PackSolver::gather(std::span<Lane* const> lanes) {
    const int64_t order = pack_.order;
    for (size_t l = 0; l < pack_lanes; ++l) {
        const Lane& lane = *lanes[std::min(l, lanes.size() - 1)];
        const int64_t size = l < lanes.size() ? std::ssize(lane.working_set) : 0;
        pack_.threshold[l] = lane.problem->threshold;
        pack_.target_squared_norm[l] = lane.problem->target_squared_norm;
        for (int64_t i = 0; i < order; ++i) {
            const auto at = static_cast<size_t>(i) * pack_lanes + l;
            const int64_t j = i < size ? lane.working_set[static_cast<size_t>(i)] : 0;
            columns_[at] = j;
            pack_.inverse[at] = i < size ? shared_.inverse[j] : 0;
            pack_.correlations[at] = i < size ? lane.problem->correlations[j] : 0;
            pack_.gradient[at] = i < size ? lane.gradient[j] : 0;
            pack_.coef[at] = i < size ? lane.problem->coef[j] : 0;
        }
    }
    for (int64_t i = 0; i < order; ++i) {
        const double* columns[pack_lanes];
        for (int l = 0; l < pack_lanes; ++l)
            columns[l] = shared_.gram + columns_[static_cast<size_t>(i * pack_lanes + l)] * shared_.order;
        for (int64_t k = 0; k <= i; ++k) {
            double* target = pack_.gram + (i * order + k) * pack_lanes;
            const int64_t* rows = columns_.data() + k * pack_lanes;
            for (int l = 0; l < pack_lanes; ++l) target[l] = columns[l][rows[l]];
            if (k < i) std::copy_n(target, pack_lanes, pack_.gram + (k * order + i) * pack_lanes);
        }
    }
}

}  // namespace lmscope::lasso
