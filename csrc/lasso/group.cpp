#include "lasso/group.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lasso/certificate.h"
#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"

namespace lmscope::lasso {
namespace {

// Larger working sets take part in full sweeps: their Gram matrices, one per lane, would leave the cache.
constexpr int64_t largest_pack = 256;
constexpr int64_t first_working_set = 32;
constexpr int64_t sweeps_between_checks = 10;

struct Lane {
    Problem* problem;
    bool open = true;
    std::vector<uint8_t> screened;
    std::vector<int64_t> support;
    std::vector<double> coef;
    std::vector<int64_t> working_set;
    AlignedBuffer gradient;
    double inner_goal = 0;
};

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
        for (;;) {
            std::vector<Lane*> sparse;
            std::vector<Lane*> dense;
            for (Lane& lane : lanes_)
                if (lane.open && !finished(lane)) {
                    if (!settings_.plain) choose_working_set(lane);
                    const bool fits = !settings_.plain && std::ssize(lane.working_set) <= largest_pack;
                    (fits ? sparse : dense).push_back(&lane);
                }
            if (sparse.empty() && dense.empty()) return;
            std::stable_sort(sparse.begin(), sparse.end(), [](const Lane* a, const Lane* b) {
                return a->working_set.size() < b->working_set.size();
            });
            for (size_t first = 0; first < sparse.size(); first += pack_lanes)
                solve_pack(sparse.data() + first, std::min<size_t>(pack_lanes, sparse.size() - first));
            if (!dense.empty()) sweep_all(dense);
        }
    }

private:
    // The gradient from scratch and the certificate; closes the lane where it holds, where rounding alone keeps it from
    // holding, or where the sweeps are used up.
    bool finished(Lane& lane) {
        Problem& problem = *lane.problem;
        lane.support.clear();
        lane.coef.clear();
        double correlation = 0;
        for (int64_t j = 0; j < problem.limit; ++j)
            if (problem.coef[j] != 0) {
                lane.support.push_back(j);
                lane.coef.push_back(problem.coef[j]);
                correlation += problem.coef[j] * problem.correlations[j];
            }
        const int64_t terms = std::ssize(lane.support);
        kernels_.gradient(problem.limit, problem.correlations, shared_.gram, shared_.order, terms, lane.support.data(),
                          lane.coef.data(), lane.gradient.data());
        const Gap gap = duality_gap({.count = problem.limit,
                                     .gradient = lane.gradient.data(),
                                     .coef = problem.coef,
                                     .column_norms = shared_.norms,
                                     .target_norm = std::sqrt(problem.target_squared_norm),
                                     .target_dot_residual = problem.target_squared_norm - correlation,
                                     .threshold = problem.threshold,
                                     .relative_error = 1.001 * (shared_.product_error + rounding(terms + 4))});
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

    void solve_pack(Lane* const* lanes, size_t count) {
        int64_t order = 1;
        for (size_t l = 0; l < count; ++l) order = std::max(order, std::ssize(lanes[l]->working_set));
        reserve_pack(order);
        gather(lanes, count);
        double found[pack_lanes];
        int64_t most = settings_.most_sweeps;
        for (size_t l = 0; l < count; ++l) most = std::min(most, settings_.most_sweeps - lanes[l]->problem->sweeps);
        int64_t sweeps = 0;
        for (bool open = true; open && sweeps < most;) {
            const int64_t now = std::min<int64_t>(most - sweeps, sweeps == 0 ? 3 : 1);
            for (int64_t i = 0; i < now; ++i) kernels_.sweep(pack_);
            sweeps += now;
            kernels_.newton(pack_);
            kernels_.gaps(pack_, found);
            open = false;
            for (size_t l = 0; l < count; ++l) open |= found[l] > lanes[l]->inner_goal;
            if (sweeps >= 100) break;
        }
        for (size_t l = 0; l < count; ++l) {
            Problem& problem = *lanes[l]->problem;
            problem.sweeps += sweeps;
            for (int64_t i = 0; i < std::ssize(lanes[l]->working_set); ++i)
                problem.coef[lanes[l]->working_set[static_cast<size_t>(i)]] =
                    pack_.coef[i * pack_lanes + static_cast<int64_t>(l)];
        }
    }

    void reserve_pack(int64_t order) {
        pack_.order = order;
        if (order <= pack_capacity_) return;
        pack_capacity_ = std::min(largest_pack, order + order / 2);
        const int64_t n = pack_capacity_;
        const int64_t triangle = (n + 1) * (n + 2) / 2;
        pack_memory_ = AlignedBuffer(pack_lanes * (n * n + triangle + 5 * n));
        pack_support_.resize(static_cast<size_t>(pack_lanes * n));
        double* at = pack_memory_.data();
        const auto take = [&](int64_t elements) { return std::exchange(at, at + pack_lanes * elements); };
        pack_.gram = take(n * n);
        pack_.factor = take(triangle);
        pack_.inverse = take(n);
        pack_.correlations = take(n);
        pack_.gradient = take(n);
        pack_.coef = take(n);
        pack_.step = take(n);
        pack_.support = pack_support_.data();
    }

    void gather(Lane* const* lanes, size_t count) {
        const int64_t order = pack_.order;
        std::vector<int64_t> places(static_cast<size_t>(order * pack_lanes), 0);
        for (size_t l = 0; l < pack_lanes; ++l) {
            const Lane& lane = *lanes[std::min(l, count - 1)];
            const int64_t size = l < count ? std::ssize(lane.working_set) : 0;
            pack_.threshold[l] = lane.problem->threshold;
            pack_.target_squared_norm[l] = lane.problem->target_squared_norm;
            for (int64_t i = 0; i < order; ++i) {
                const auto at = static_cast<size_t>(i) * pack_lanes + l;
                const int64_t j = i < size ? lane.working_set[static_cast<size_t>(i)] : 0;
                places[at] = j;
                pack_.inverse[at] = i < size ? shared_.inverse[j] : 0;
                pack_.correlations[at] = i < size ? lane.problem->correlations[j] : 0;
                pack_.gradient[at] = i < size ? lane.gradient[j] : 0;
                pack_.coef[at] = i < size ? lane.problem->coef[j] : 0;
            }
        }
        for (int64_t i = 0; i < order; ++i) {
            const double* columns[pack_lanes];
            for (int l = 0; l < pack_lanes; ++l)
                columns[l] = shared_.gram + places[static_cast<size_t>(i * pack_lanes + l)] * shared_.order;
            for (int64_t k = 0; k <= i; ++k) {
                double* target = pack_.gram + (i * order + k) * pack_lanes;
                const int64_t* rows = places.data() + k * pack_lanes;
                for (int l = 0; l < pack_lanes; ++l) target[l] = columns[l][rows[l]];
                if (k < i) std::copy_n(target, pack_lanes, pack_.gram + (k * order + i) * pack_lanes);
            }
        }
    }

    // Cyclic sweeps over all columns of all the lanes: blocks of coordinates, between them one product.
    void sweep_all(const std::vector<Lane*>& lanes) {
        int64_t order = 0;
        int64_t sweeps = sweeps_between_checks;
        for (const Lane* lane : lanes) {
            order = std::max(order, lane->problem->limit);
            sweeps = std::min(sweeps, settings_.most_sweeps - lane->problem->sweeps);
        }
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
                const Block block = {shared_.gram,
                                     shared_.order,
                                     shared_.inverse,
                                     first,
                                     rows,
                                     gradient.data() + first * block_lanes,
                                     coef.data() + first * block_lanes,
                                     change.data(),
                                     threshold,
                                     limit};
                if (kernels_.sweep_block(block))
                    blas::gemm(blas::Op::none, blas::Op::none, block_lanes, order, rows, -1.0, change.data(),
                               block_lanes, shared_.gram + first, shared_.order, 1.0, gradient.data(), block_lanes);
            }
        for (size_t l = 0; l < lanes.size(); ++l) {
            Problem& problem = *lanes[l]->problem;
            problem.sweeps += sweeps;
            for (int64_t j = 0; j < problem.limit; ++j)
                problem.coef[j] = coef[j * block_lanes + static_cast<int64_t>(l)];
        }
    }

    const Shared& shared_;
    const LassoSettings& settings_;
    const BatchKernels& kernels_;
    std::vector<Lane> lanes_;
    Pack pack_{};
    int64_t pack_capacity_ = 0;
    AlignedBuffer pack_memory_;
    std::vector<int64_t> pack_support_;
};

}  // namespace

void solve_group(const Shared& shared, Problem* problems, int64_t count, const LassoSettings& settings,
                 const BatchKernels& kernels) {
    Group(shared, problems, count, settings, kernels).solve();
}

}  // namespace lmscope::lasso
