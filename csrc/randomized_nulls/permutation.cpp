#include "randomized_nulls/permutation.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "randomized_nulls/counter.h"
#include "runtime/thread_pool.h"

// Rao (1961) and Sandelius (1962): throw every entry into one of 2^bits buckets at random, then shuffle each bucket
// (Fisher and Yates); the order is uniform over all permutations, and both steps stay in cache.
namespace lmscope::nulls {
namespace {

constexpr int64_t bucket_entries = int64_t{1} << 14;
constexpr int most_bits = 10;
constexpr int64_t block_entries = int64_t{1} << 18;
// Keys of the two kinds of draws in a permutation; rows of a matrix never reach these numbers.
constexpr uint64_t bucket_line = uint64_t{1} << 62;
constexpr uint64_t shuffle_line = uint64_t{1} << 63;

int bits_for(int64_t entries) {
    int bits = 0;
    while (bits < most_bits && (entries >> bits) > bucket_entries) ++bits;
    return bits;
}

// Uniform over 0 .. bound - 1, to within 2^-30 of equal chances: the high half of the product with a 64-bit word.
int64_t below(uint64_t word, int64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<int64_t>((static_cast<Wide>(word) * static_cast<Wide>(bound)) >> 64);
}

template <typename Element>
void gather_rows(const MatrixView& matrix, int64_t first, int64_t rows, Element* target) {
    const auto* source = static_cast<const Element*>(matrix.at(first, 0));
    if (matrix.column_stride == 1) {
        for (int64_t row = 0; row < rows; ++row)
            std::memcpy(target + row * matrix.columns, source + row * matrix.row_stride,
                        static_cast<size_t>(matrix.columns) * sizeof(Element));
        return;
    }
    for (int64_t column = 0; column < matrix.columns; ++column)
        for (int64_t row = 0; row < rows; ++row)
            target[row * matrix.columns + column] = source[row * matrix.row_stride + column * matrix.column_stride];
}

template <typename Element>
void permute_elements(const MatrixView& matrix, uint64_t seed, uint64_t draw, Element* target) {
    const int64_t entries = matrix.rows * matrix.columns;
    const int bits = bits_for(entries);
    const int64_t buckets = int64_t{1} << bits;
    const int64_t rows_at_once = std::max<int64_t>(1, block_entries / matrix.columns);
    const int64_t blocks = (matrix.rows + rows_at_once - 1) / rows_at_once;
    const uint64_t key = counter::draw_key(seed, draw);
    const uint64_t bucket_key = counter::line_key(key, bucket_line);
    // One word holds the bucket numbers of as many consecutive entries as fit.
    const int64_t per_word = bits == 0 ? 64 : 64 / bits;
    const auto for_each_bucket = [&](int64_t begin, int64_t end, auto&& visit) {
        for (int64_t at = begin; at < end;) {
            uint64_t word = counter::word(bucket_key, static_cast<uint64_t>(at / per_word));
            const int64_t skipped = at % per_word;
            word >>= static_cast<unsigned>(skipped * bits);
            const int64_t stop = std::min(end, at + per_word - skipped);
            for (; at < stop; ++at, word >>= static_cast<unsigned>(bits))
                visit(static_cast<int64_t>(word & static_cast<uint64_t>(buckets - 1)));
        }
    };

    std::vector<int64_t> places(static_cast<size_t>(blocks * buckets), 0);
    parallel_for(blocks, [&](int64_t block) {
        int64_t* counts = places.data() + block * buckets;
        const int64_t end = std::min(matrix.rows, (block + 1) * rows_at_once);
        for_each_bucket(block * rows_at_once * matrix.columns, end * matrix.columns,
                        [&](int64_t bucket) { ++counts[bucket]; });
    });
    std::vector<int64_t> starts(static_cast<size_t>(buckets + 1), 0);
    int64_t total = 0;
    for (int64_t bucket = 0; bucket < buckets; ++bucket) {
        starts[static_cast<size_t>(bucket)] = total;
        for (int64_t block = 0; block < blocks; ++block) {
            int64_t& place = places[static_cast<size_t>(block * buckets + bucket)];
            const int64_t count = place;
            place = total;
            total += count;
        }
    }
    starts[static_cast<size_t>(buckets)] = total;

    parallel_for(blocks, [&](int64_t block) {
        int64_t* next = places.data() + block * buckets;
        const int64_t first = block * rows_at_once;
        const int64_t rows = std::min(matrix.rows - first, rows_at_once);
        std::vector<Element> copy;
        const Element* source = static_cast<const Element*>(matrix.at(first, 0));
        if (matrix.column_stride != 1 || matrix.row_stride != matrix.columns) {
            copy.resize(static_cast<size_t>(rows * matrix.columns));
            gather_rows(matrix, first, rows, copy.data());
            source = copy.data();
        }
        for_each_bucket(first * matrix.columns, (first + rows) * matrix.columns,
                        [&](int64_t bucket) { target[next[bucket]++] = *source++; });
    });

    parallel_for(buckets, [&](int64_t bucket) {
        Element* first = target + starts[static_cast<size_t>(bucket)];
        const int64_t count = starts[static_cast<size_t>(bucket + 1)] - starts[static_cast<size_t>(bucket)];
        const uint64_t own = counter::line_key(key, shuffle_line + static_cast<uint64_t>(bucket));
        for (int64_t left = count; left > 1; --left)
            std::swap(first[left - 1], first[below(counter::word(own, static_cast<uint64_t>(left)), left)]);
    });
}

}  // namespace

void permute(const MatrixView& matrix, uint64_t seed, uint64_t draw, void* target) {
    switch (size_in_bytes(matrix.dtype)) {
        case 8:
            return permute_elements(matrix, seed, draw, static_cast<uint64_t*>(target));
        case 4:
            return permute_elements(matrix, seed, draw, static_cast<uint32_t*>(target));
        default:
            return permute_elements(matrix, seed, draw, static_cast<uint16_t*>(target));
    }
}

}  // namespace lmscope::nulls
