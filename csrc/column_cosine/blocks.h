#pragma once

#include <cstdint>
#include <vector>

#include "column_cosine/kernels.h"
#include "column_cosine/packed.h"

namespace lmscope::cosine {

// The largest magnitude of every kept column and the partner that attains it; -1 and -1 without a partner.
struct Maxima {
    std::vector<double> magnitude;
    std::vector<int64_t> partner;
};

struct Compared {
    std::vector<int64_t> counts;
    Maxima x;
    Maxima y;
};

// All pairs of kept columns; with `self`, x and y are the same and only pairs i < j count, for both sides.
Compared compare_all(const Packed& x, const Packed& y, bool self, int64_t bins, const Kernels& kernels);

}  // namespace lmscope::cosine
