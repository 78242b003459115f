// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code. Compiled with -ffp-contract=fast: products and sums fuse where the instruction set can.
#include <cstdint>
#include <cstring>

#include "column_cosine/kernels.h"
#include "column_cosine/packed.h"

namespace lmscope::cosine {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <typename T>
struct Vector {
    static constexpr int width = vector_bytes / static_cast<int>(sizeof(T));
    // GCC takes the attribute of a dependent type in a typedef only.
    typedef T Values __attribute__((vector_size(vector_bytes)));                    // NOLINT(modernize-use-using)
    typedef int32_t Indices __attribute__((vector_size(width * sizeof(int32_t))));  // NOLINT(modernize-use-using)
};

template <typename Value>
Value load(const void* source) {
    Value value;
    std::memcpy(&value, source, sizeof value);
    return value;
}

// Taking zero away leaves every number as it is, so this is a broadcast; adding zero would be an addition, for -0.
template <typename Values, typename T>
Values everywhere(T value) {
    return value - Values{};
}

// Where vector v of a row of y begins, in elements behind the first group.
template <typename T>
const T* vector_of_y(const void* y, int64_t group_stride, int64_t step, int v) {
    constexpr int per_group = static_cast<int>(group) / Vector<T>::width;
    const char* start = static_cast<const char*>(y) + (v / per_group) * group_stride;
    return reinterpret_cast<const T*>(start) + step * group + (v % per_group) * Vector<T>::width;
}

template <typename T, int rows, int vectors>
void multiply(const void* x, const void* y, int64_t group_stride, int64_t steps, bool add, T* target) {
    using Values = typename Vector<T>::Values;
    constexpr int width = Vector<T>::width;
    const T* from_x = static_cast<const T*>(x);
    Values sums[rows][vectors] = {};
    for (int64_t step = 0; step < steps; ++step) {
        Values from_y[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) from_y[v] = load<Values>(vector_of_y<T>(y, group_stride, step, v));
#pragma GCC unroll 16
        for (int row = 0; row < rows; ++row) {
            const Values factor = everywhere<Values>(from_x[step * rows + row]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v) sums[row][v] += factor * from_y[v];
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
            T* place = target + (row * vectors + v) * width;
            const Values sum = add ? load<Values>(place) + sums[row][v] : sums[row][v];
            std::memcpy(place, &sum, sizeof sum);
        }
}

template <typename T, int rows, int vectors, bool whole>
void finish_tile(const Epilogue<T>& e) {
    using Values = typename Vector<T>::Values;
    using Indices = typename Vector<T>::Indices;
    constexpr int width = Vector<T>::width;
    constexpr int columns = vectors * width;
    int32_t bins[rows * columns];
    Values inverse_y[vectors];
    Values best[vectors];
    Values best_place[vectors];
    Values place[vectors];
    Values lane;
    for (int i = 0; i < width; ++i) lane[i] = static_cast<T>(i);
    for (int v = 0; v < vectors; ++v) {
        inverse_y[v] = load<Values>(e.inverse_y + v * width);
        best[v] = load<Values>(e.column_maxima + v * width);
        best_place[v] = load<Values>(e.column_places + v * width);
        place[v] = lane + static_cast<T>(e.column + v * width);
    }
    const T half = e.bins / 2;
    const Values last = everywhere<Values>(e.bins - 1);
    for (int row = 0; row < rows; ++row) {
        if (!whole && row >= e.valid_rows) break;
        const Values inverse_x = everywhere<Values>(e.inverse_x[row]);
        const Values this_row = everywhere<Values>(static_cast<T>(e.row + row));
        Values row_best = load<Values>(e.row_maxima + row * width);
        Values row_place = load<Values>(e.row_places + row * width);
        for (int v = 0; v < vectors; ++v) {
            const Values cosine = load<Values>(e.tile + row * columns + v * width) * (inverse_x * inverse_y[v]);
            Values magnitude = cosine < 0 ? -cosine : cosine;
            if constexpr (!whole) {
                const Values from = everywhere<Values>(static_cast<T>(e.column + e.first_partner + row));
                const Values end = everywhere<Values>(static_cast<T>(e.column + e.valid_columns));
                magnitude = (place[v] < from) | (place[v] >= end) ? everywhere<Values>(T{-1}) : magnitude;
            }
            const auto above = magnitude > best[v];
            best[v] = above ? magnitude : best[v];
            best_place[v] = above ? this_row : best_place[v];
            const auto above_row = magnitude > row_best;
            row_best = above_row ? magnitude : row_best;
            row_place = above_row ? place[v] : row_place;
            Values position = cosine * half + half;
            position = position < 0 ? Values{} : position;
            position = position > last ? last : position;
            const Indices index = __builtin_convertvector(position, Indices);
            std::memcpy(bins + row * columns + v * width, &index, sizeof index);
        }
        std::memcpy(e.row_maxima + row * width, &row_best, sizeof row_best);
        std::memcpy(e.row_places + row * width, &row_place, sizeof row_place);
    }
    for (int v = 0; v < vectors; ++v) {
        std::memcpy(e.column_maxima + v * width, &best[v], sizeof best[v]);
        std::memcpy(e.column_places + v * width, &best_place[v], sizeof best_place[v]);
    }
    uint32_t* table[histogram_tables];
    for (int i = 0; i < histogram_tables; ++i) table[i] = e.counts + i * e.table;
    if constexpr (whole) {
        for (int i = 0; i < rows * columns; i += histogram_tables)
#pragma GCC unroll 4
            for (int j = 0; j < histogram_tables; ++j) ++table[j][bins[i + j]];
    } else {
        for (int64_t row = 0; row < rows && row < e.valid_rows; ++row) {
            const int64_t first = e.first_partner + row < 0 ? 0 : e.first_partner + row;
            for (int64_t column = first; column < columns && column < e.valid_columns; ++column)
                ++table[column % histogram_tables][bins[row * columns + column]];
        }
    }
}

template <typename T, int rows, int vectors>
void finish(const Epilogue<T>& e) {
    constexpr int columns = vectors * Vector<T>::width;
    // The last row's partners begin last, and must not begin behind the tile's first column.
    if (e.valid_rows >= rows && e.valid_columns >= columns && e.first_partner + rows - 1 <= 0)
        finish_tile<T, rows, vectors, true>(e);
    else
        finish_tile<T, rows, vectors, false>(e);
}

template <typename T, int rows>
void interleave(const Parts<T>& parts, int64_t steps, T* target) {
    for (int64_t step = 0; step < steps; ++step)
        for (int part = 0; part < parts.count; ++part)
            std::memcpy(target + step * rows + parts.place[part], parts.source[part] + step * group, group * sizeof(T));
}

void widen(const void* source, int64_t depths, float* target) {
    using Bits = uint32_t __attribute__((vector_size(vector_bytes)));
    constexpr int width = Vector<float>::width;
    for (int64_t pair = 0; pair < depths / 2; ++pair)
        for (int i = 0; i < group; i += width) {
            const auto bits = load<Bits>(static_cast<const uint32_t*>(source) + pair * group + i);
            const Bits even = bits << 16;
            const Bits odd = bits & 0xffff0000U;
            std::memcpy(target + 2 * pair * group + i, &even, sizeof even);
            std::memcpy(target + (2 * pair + 1) * group + i, &odd, sizeof odd);
        }
}

template <typename T>
constexpr Blocking blocking = {192, 2048 / static_cast<int>(sizeof(T)), 96};

template <typename T, int rows, int vectors>
constexpr Tile<T> tile() {
    return {rows,
            vectors * Vector<T>::width,
            Vector<T>::width,
            blocking<T>,
            multiply<T, rows, vectors>,
            finish<T, rows, vectors>,
            interleave<T, rows>};
}

}  // namespace
}  // namespace lmscope::cosine
