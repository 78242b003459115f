#pragma once

#include <cstdint>

// Sixteen-bit integers as two signed digits, q = 256 high + low, in panels of columns; README.md says why.
namespace lmscope::integer_gram {

constexpr int64_t panel_columns = 32;

// Instructions multiply four consecutive rows at once; a tile register holds sixteen such quads.
constexpr int64_t quad = 4;
constexpr int64_t row_granule = 64;

// A quad of a panel: four rows of each column side by side, all high digits before the low ones.
constexpr int64_t plane_bytes = panel_columns * quad;
constexpr int64_t quad_bytes = 2 * plane_bytes;

// Sums of one panel's columns times another's, int32: high with high, both mixed products, low with low.
constexpr int64_t weights = 3;
constexpr int64_t pair_size = panel_columns * panel_columns;

// |q| beyond this has no high digit.
constexpr int largest_integer = 127 * 256 + 127;

// What the bits of a 16-bit floating-point element mean.
struct Format {
    int mantissa_bits;
    // The value of an element is mantissa * 2^(exponent - bias), where subnormals have exponent 1.
    int bias;
};
constexpr Format bfloat16_format = {7, 134};
constexpr Format float16_format = {10, 25};

// Leftovers are added up in runs of this many at most.
constexpr int64_t leftover_run = 256;

// An element that is no integer times its column's unit.
struct Leftover {
    uint32_t row;
    float value;
};

}  // namespace lmscope::integer_gram
