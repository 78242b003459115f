#pragma once

#include <cstdint>
#include <vector>

#include "column_cosine/kernels.h"
#include "column_cosine/packed.h"

namespace lmscope::cosine {

// Of every kept column the partner of largest |cosine|, -1 without one.
struct Compared {
    std::vector<int64_t> counts;
    std::vector<int64_t> partner_x;
    std::vector<int64_t> partner_y;
};

// All pairs of kept columns; with `self`, x and y are the same and only pairs i < j count, for both sides.
Compared compare_all(const Packed& x, const Packed& y, bool self, int64_t bins, const Kernels& kernels);

}  // namespace lmscope::cosine
