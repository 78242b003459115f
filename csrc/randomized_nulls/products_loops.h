#pragma once

#include <cstdint>
#include <cstring>

#include "randomized_nulls/counter.h"
#include "randomized_nulls/products.h"

// The loops that every instruction set shares, over a vector type V: `Value`, `width`, load, store, broadcast, fma,
// sum, and flip(value, word, place): the sign of lane i flips where bit place * width + i of the word is set. All is
// in the unnamed namespace, so that no two instruction sets share a symbol.
namespace lmscope::nulls {
namespace {

template <typename V, bool flipped>
void row_products(const float* rows, int64_t columns, const uint64_t* words, const float* x, float* sums) {
    using Value = typename V::Value;
    const int64_t groups = columns / group;
    double total[row_step] = {};
    for (int64_t first = 0; first < columns; first += sum_columns) {
        const int64_t end = columns - first < sum_columns ? columns : first + sum_columns;
        Value partial[row_step][2];
        for (auto& pair : partial) pair[0] = pair[1] = V::broadcast(0.0F);
        for (int64_t column = first; column < end; column += group) {
            const uint64_t* word = words + column / group;
#pragma GCC unroll 16
            for (int place = 0; place < group / V::width; ++place) {
                const int64_t at = column + place * V::width;
                const Value from = V::load(x + at);
#pragma GCC unroll 4
                for (int64_t row = 0; row < row_step; ++row) {
                    const Value signed_from = flipped ? V::flip(from, word[row * groups], place) : from;
                    partial[row][place % 2] =
                        V::fma(V::load(rows + row * columns + at), signed_from, partial[row][place % 2]);
                }
            }
        }
        for (int64_t row = 0; row < row_step; ++row)
            total[row] += static_cast<double>(V::sum(partial[row][0])) + static_cast<double>(V::sum(partial[row][1]));
    }
    for (int64_t row = 0; row < row_step; ++row) sums[row] = static_cast<float>(total[row]);
}

template <typename V, bool flipped>
void add_rows(const float* rows, int64_t columns, const uint64_t* words, const float* sums, float* z) {
    using Value = typename V::Value;
    const int64_t groups = columns / group;
    Value factor[row_step];
    for (int64_t row = 0; row < row_step; ++row) factor[row] = V::broadcast(sums[row]);
    for (int64_t column = 0; column < columns; column += group) {
        const uint64_t* word = words + column / group;
#pragma GCC unroll 16
        for (int place = 0; place < group / V::width; ++place) {
            const int64_t at = column + place * V::width;
            Value value = V::load(z + at);
#pragma GCC unroll 4
            for (int64_t row = 0; row < row_step; ++row) {
                const Value times = flipped ? V::flip(factor[row], word[row * groups], place) : factor[row];
                value = V::fma(V::load(rows + row * columns + at), times, value);
            }
            V::store(z + at, value);
        }
    }
}

template <typename V>
void accumulate(const float* block, int64_t rows, int64_t columns, const uint64_t* keys, const float* x, float* z,
                uint64_t* words) {
    const int64_t groups = columns / group;
    for (int64_t row = 0; row < rows; row += row_step) {
        const float* four = block + row * columns;
        float sums[row_step];
        if (keys == nullptr) {
            row_products<V, false>(four, columns, words, x, sums);
            add_rows<V, false>(four, columns, words, sums, z);
            continue;
        }
        for (int64_t line = 0; line < row_step; ++line) {
            const uint64_t key = keys[row + line];
            uint64_t* target = words + line * groups;
            for (int64_t index = 0; index < groups; ++index)
                target[index] = counter::word(key, static_cast<uint64_t>(index));
        }
        row_products<V, true>(four, columns, words, x, sums);
        add_rows<V, true>(four, columns, words, sums, z);
    }
}

inline void narrow_bfloat16(const uint16_t* source, int64_t count, float* target) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = static_cast<uint32_t>(source[i]) << 16;
        std::memcpy(target + i, &bits, sizeof bits);
    }
}

inline void narrow_float64(const double* source, int64_t count, double scale, float* target) {
    for (int64_t i = 0; i < count; ++i) target[i] = static_cast<float>(source[i] * scale);
}

template <void (*narrow_float16)(const uint16_t*, int64_t, float*)>
void narrow(DType dtype, const void* source, int64_t count, double scale, float* target) {
    switch (dtype) {
        case DType::float64:
            return narrow_float64(static_cast<const double*>(source), count, scale, target);
        case DType::float32:
            std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
            break;
        case DType::float16:
            narrow_float16(static_cast<const uint16_t*>(source), count, target);
            break;
        case DType::bfloat16:
            narrow_bfloat16(static_cast<const uint16_t*>(source), count, target);
            break;
    }
    if (scale != 1.0)
        for (int64_t i = 0; i < count; ++i) target[i] = static_cast<float>(static_cast<double>(target[i]) * scale);
}

}  // namespace
}  // namespace lmscope::nulls
