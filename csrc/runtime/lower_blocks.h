#pragma once

#include <cstdint>
#include <utility>

namespace lmscope {

// Blocks of a lower triangle of `order` x `order` blocks, counted row by row.
constexpr int64_t lower_blocks(int64_t order) { return order * (order + 1) / 2; }

// Row and column of the index-th of them.
inline std::pair<int64_t, int64_t> lower_block(int64_t index) {
    int64_t row = 0;
    while (lower_blocks(row + 1) <= index) ++row;
    return {row, index - lower_blocks(row)};
}

}  // namespace lmscope
