#pragma once

#include <cstdint>

#include "lmscope/dtype.h"

namespace lmscope::nulls {

// Columns that one sign word covers; rows of a block are padded with zeros to a multiple of it.
constexpr int64_t group = 64;
// Rows that share one load of the vectors.
constexpr int64_t row_step = 4;
// Columns whose products are summed in float32 before they go to a float64 sum.
constexpr int64_t sum_columns = 8192;

// The inner loops, one table per instruction set.
struct Products {
    // target[i] = source[i], rounded to float32 where the source is float64; `scale` is a power of two.
    void (*narrow)(DType dtype, const void* source, int64_t count, double scale, float* target);
    // z += B^T (B x) for a block of `rows` (a multiple of row_step) times `columns` (a multiple of group) floats,
    // row-major. B is the block, or the block with its signs flipped where `keys`, one per row, are given; `words` is
    // scratch for row_step * columns / group words.
    void (*accumulate)(const float* block, int64_t rows, int64_t columns, const uint64_t* keys, const float* x,
                       float* z, uint64_t* words);
};
extern const Products products_scalar;
extern const Products products_avx2;
extern const Products products_avx512;

}  // namespace lmscope::nulls
