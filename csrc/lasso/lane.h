#pragma once

#include <cstdint>
#include <vector>

#include "lasso/group.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::lasso {

// A problem on its way. The gradient, X^T (y - X w), is that of the coefficients at the last certificate.
struct Lane {
    Problem* problem = nullptr;
    bool open = true;
    AlignedBuffer gradient;
    std::vector<uint8_t> screened;
    std::vector<int64_t> support;
    std::vector<double> support_coef;
    std::vector<int64_t> working_set;
    // The gap that its restricted problem is to reach before the next certificate.
    double inner_goal = 0;

    // Takes the support from the problem's coefficients and computes the gradient from scratch.
    void refresh(const Shared& shared, const BatchKernels& kernels);
};

}  // namespace lmscope::lasso
