#pragma once

#include <span>

#include "lasso/kernels.h"
#include "lasso/lane.h"

namespace lmscope::lasso {

// Cyclic sweeps over all columns of at most `block_lanes` problems: blocks of coordinates, between them one product.
void sweep_all(const Shared& shared, std::span<Lane* const> lanes, int64_t sweeps, const BatchKernels& kernels);

// One Newton step for the present signs of a problem whose support is large; the lane is fresh before and after. Where
// coefficients would change their sign they become zero if the objective falls by that, else the step ends at the first
// of them; true then, as another step from there goes on.
bool newton_step(const Shared& shared, Lane& lane, const BatchKernels& kernels);

}  // namespace lmscope::lasso
