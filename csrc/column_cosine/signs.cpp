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

}  // namespace lmscope::cosine
