#pragma once

#include <cstdint>
#include <vector>

#include "runtime/aligned_buffer.h"

namespace lmscope::cosine {

enum class Stored { bfloat16, float32, float64 };

constexpr int64_t bytes_of(Stored stored) { return stored == Stored::bfloat16 ? 2 : stored == Stored::float32 ? 4 : 8; }

// Columns that lie side by side in memory, and the multiples to which their number and the depth are padded.
constexpr int64_t group = 16;
constexpr int64_t padding = 32;
constexpr int64_t depth_padding = 32;

// Column-interleaved elements. A group holds 16 columns: for every pair of depths, 16 pairs of bfloat16; or for every
// depth, 16 float32 or float64. Padding is zero.
struct Packed {
    Stored stored;
    int64_t depth;
    int64_t padded_depth;
    int64_t columns;
    // Which columns of the matrix were kept, ascending.
    std::vector<int64_t> kept;
    // Of the packed columns, each after its division by a power of two; zero in the padding.
    std::vector<double> squared_norms;
    std::vector<double> inverse_norms;
    AlignedBuffer elements;

    // A copy of everything but the elements, for which it has room.
    Packed without_elements() const;
    int64_t elements_in_doubles() const { return padded_count() * padded_depth * bytes_of(stored) / 8 + group; }

    int64_t count() const { return static_cast<int64_t>(kept.size()); }
    int64_t padded_count() const { return (count() + padding - 1) / padding * padding; }
    int64_t group_bytes() const { return group * padded_depth * bytes_of(stored); }
    const char* group_at(int64_t index) const {
        return reinterpret_cast<const char*>(elements.data()) + index * group_bytes();
    }
};

// `negative` has an entry per row; where it is not zero, the row's elements change their sign.
void copy_with_signs(const Packed& source, const uint8_t* negative, Packed& target);

// `negative` has an entry for every element of the matrix, row by row.
void copy_with_entry_signs(const Packed& source, const uint8_t* negative, Packed& target);

// For every kept column of x and then of y the float64 product with its partner on the other side; NaN where that is
// -1. `partner_y` may be empty. The product of a column with itself has the bits of its squared norm.
void float64_products(const Packed& x, const Packed& y, const std::vector<int64_t>& partner_x,
                      const std::vector<int64_t>& partner_y, double* products_x, double* products_y);

}  // namespace lmscope::cosine
