#include <algorithm>
#include <cstring>

#include "column_cosine/packed.h"
#include "runtime/thread_pool.h"

namespace lmscope::cosine {
namespace {

// A row of a group, or of a pair of rows for bfloat16, is 16 elements of this type; the mask holds its sign bits.
template <typename Bits>
void copy_group(const char* source, int64_t steps, const std::vector<Bits>& masks, char* target) {
    for (int64_t step = 0; step < steps; ++step) {
        Bits bits[group];
        std::memcpy(bits, source + step * static_cast<int64_t>(sizeof bits), sizeof bits);
        for (Bits& value : bits) value ^= masks[static_cast<size_t>(step)];
        std::memcpy(target + step * static_cast<int64_t>(sizeof bits), bits, sizeof bits);
    }
}

template <typename Bits>
void copy_groups(const Packed& source, const std::vector<Bits>& masks, Packed& target) {
    parallel_for(source.padded_count() / group, [&](int64_t index) {
        copy_group<Bits>(source.group_at(index), static_cast<int64_t>(masks.size()), masks,
                         const_cast<char*>(target.group_at(index)));
    });
}

// Of a step of a group every element has a mask of its own: `rows` rows of the matrix, one or a pair of bfloat16.
template <typename Bits, int64_t rows>
void copy_groups_by_entry(const Packed& source, const uint8_t* negative, Packed& target) {
    constexpr int sign = 8 * static_cast<int>(sizeof(Bits)) / rows - 1;
    parallel_for(source.padded_count() / group, [&](int64_t index) {
        const int64_t kept = std::min(group, source.count() - index * group);
        const char* from = source.group_at(index);
        char* to = const_cast<char*>(target.group_at(index));
        for (int64_t row = 0; row < source.padded_depth; row += rows) {
            Bits bits[group];
            std::memcpy(bits, from + row / rows * static_cast<int64_t>(sizeof bits), sizeof bits);
            for (int64_t part = 0; part < rows && row + part < source.depth; ++part)
                for (int64_t i = 0; i < kept; ++i) {
                    const int64_t column = source.kept[static_cast<size_t>(index * group + i)];
                    if (negative[(row + part) * source.columns + column] != 0)
                        bits[i] ^= Bits{1} << (sign + part * 8 * static_cast<int64_t>(sizeof(Bits)) / rows);
                }
            std::memcpy(to + row / rows * static_cast<int64_t>(sizeof bits), bits, sizeof bits);
        }
    });
}

}  // namespace

Packed Packed::without_elements() const {
    return {stored, depth,         padded_depth,  columns,
            kept,   squared_norms, inverse_norms, AlignedBuffer(elements_in_doubles())};
}

void copy_with_signs(const Packed& source, const uint8_t* negative, Packed& target) {
    const auto turned = [&](int64_t row) { return row < source.depth && negative[row] != 0; };
    if (source.stored == Stored::float64) {
        std::vector<uint64_t> masks(static_cast<size_t>(source.padded_depth));
        for (int64_t row = 0; row < source.padded_depth; ++row)
            masks[static_cast<size_t>(row)] = turned(row) ? uint64_t{1} << 63 : 0;
        return copy_groups(source, masks, target);
    }
    const bool pairs = source.stored == Stored::bfloat16;
    std::vector<uint32_t> masks(static_cast<size_t>(pairs ? source.padded_depth / 2 : source.padded_depth));
    for (int64_t step = 0; step < static_cast<int64_t>(masks.size()); ++step) {
        const uint32_t first = turned(pairs ? 2 * step : step) ? 1U : 0U;
        const uint32_t second = pairs && turned(2 * step + 1) ? 1U : 0U;
        masks[static_cast<size_t>(step)] = pairs ? first << 15 | second << 31 : first << 31;
    }
    copy_groups(source, masks, target);
}

void copy_with_entry_signs(const Packed& source, const uint8_t* negative, Packed& target) {
    switch (source.stored) {
        case Stored::bfloat16:
            return copy_groups_by_entry<uint32_t, 2>(source, negative, target);
        case Stored::float32:
            return copy_groups_by_entry<uint32_t, 1>(source, negative, target);
        case Stored::float64:
            return copy_groups_by_entry<uint64_t, 1>(source, negative, target);
    }
}

}  // namespace lmscope::cosine
