#pragma once

#include <cstdint>

namespace lmscope::cosine {

// What the epilogue of one tile reads and updates; T is the accumulation type.
template <typename T>
struct Epilogue {
    const T* tile;  // rows x columns
    const T* inverse_x;
    const T* inverse_y;
    // Places of the tile's corner in the block, and how far the block's columns reach. A column of y counts against
    // row r from `first_partner + r` on: the diagonal of a matrix with itself.
    int64_t row;
    int64_t column;
    int64_t valid_rows;
    int64_t valid_columns;
    int64_t first_partner;
    T bins;
    // Four tables of counts, `table` apart.
    uint32_t* counts;
    int64_t table;
    // Largest magnitudes and where they were found, as numbers: `lanes` per row, one per column.
    T* row_maxima;
    T* row_places;
    T* column_maxima;
    T* column_places;
};

constexpr int histogram_tables = 4;

// Where the columns of a tile lie, and their places in it.
template <typename T>
struct Parts {
    const T* source[2];
    int64_t place[2];
    int count;
};

// A comparison is cut into blocks of `rows` columns of x, rounded up to whole tiles, and `columns` of y: the block's
// sums and a slice of its columns of x fill most of a second-level cache. `depths` are summed before their sum goes to
// the second accumulator.
struct Blocking {
    int rows;
    int columns;
    int depths;
};

// The inner loops of one accumulation: a tile of `rows` columns of x times `columns` columns of y.
template <typename T>
struct Tile {
    int rows;
    int columns;
    int lanes;
    Blocking blocking;
    // target (+)= products. `x`: `rows` steps interleaved; `y`: groups of 16 columns, `group_stride` bytes apart. A
    // step is one depth, or a pair of depths of bfloat16.
    void (*multiply)(const void* x, const void* y, int64_t group_stride, int64_t steps, bool add, T* target);
    void (*finish)(const Epilogue<T>& epilogue);
    // The columns of one tile of x, in at most two parts that lie in one group each, step by step. Writes whole groups:
    // up to 15 elements behind the tile.
    // `steps` is a multiple of 16 for bfloat16, of 32 for the others.
    void (*interleave)(const Parts<T>& parts, int64_t steps, T* target);
    // Called by the thread that multiplies, before and after the tiles of a block; null where nothing has to be set up.
    void (*enter)() = nullptr;
    void (*leave)() = nullptr;
};

// One table per instruction set; `bfloat16.multiply` is null where products of bfloat16 run in float32.
struct Kernels {
    Tile<float> bfloat16;
    Tile<float> float32;
    Tile<double> float64;
    // A group of bfloat16 over `depths` depths, an even number, as float32.
    void (*widen)(const void* source, int64_t depths, float* target);
};
extern const Kernels kernels_scalar;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512_bf16;
extern const Kernels kernels_amx;

}  // namespace lmscope::cosine
