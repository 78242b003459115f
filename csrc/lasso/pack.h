#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lasso/kernels.h"
#include "lasso/lane.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::lasso {

// Larger working sets take part in full sweeps: their Gram matrices, one per lane, would leave the cache.
constexpr int64_t largest_working_set = 256;

// Solves at most `pack_lanes` problems restricted to their working sets, side by side.
class PackSolver {
public:
    PackSolver(const Shared& shared, const LassoSettings& settings, const BatchKernels& kernels)
        : shared_(shared), settings_(settings), kernels_(kernels) {}
    void solve(std::span<Lane* const> lanes);

private:
    void reserve(int64_t order);
    void gather(std::span<Lane* const> lanes);
    bool above_goal(std::span<Lane* const> lanes) const;

    const Shared& shared_;
    const LassoSettings& settings_;
    const BatchKernels& kernels_;
    Pack pack_{};
    int64_t capacity_ = 0;
    AlignedBuffer memory_;
    std::vector<int64_t> support_;
    std::vector<int64_t> columns_;
};

}  // namespace lmscope::lasso
