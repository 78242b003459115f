#pragma once

#include <cstdint>

namespace lmscope::eigenvalues {

// The lower triangle of a symmetric matrix lies in square tiles of this order, each column-major without gaps: a stride
// that does not depend on the matrix, so that the columns of a tile never meet in one set of a cache.
constexpr int64_t tile_order = 96;

// Half-open.
struct Range {
    int64_t begin;
    int64_t end;
};

// What one tile takes part in. `width` vectors stand side by side: row i of V at v + i * width. The update takes its
// factors packed: `height` rows of them at a time, vector by vector (row i, vector k at i / height * height * width +
// k * height + i % height). Ranges count rows or columns of the tile; their ends are multiples of `multiple_of`.
struct TileKernels {
    int64_t height;

    // W += T V, or T^T V where `transposed`: the rows of W over those of V. The tile after this one is fetched ahead.
    void (*multiply)(const double* tile, const double* next_tile, bool transposed, Range rows, Range depth,
                     const double* v, int64_t width, double* w);

    // T <- T - V W^T - W V^T, where V and W have the tile's rows on the left and its columns on the right.
    void (*update)(double* tile, Range rows, Range columns, const double* v_left, const double* w_left,
                   const double* v_right, const double* w_right, int64_t width);
};
extern const TileKernels tile_kernels_scalar;
extern const TileKernels tile_kernels_avx2;
extern const TileKernels tile_kernels_avx512;

// The widest of the packed panels, which every table's height divides.
constexpr int64_t multiple_of = 24;
static_assert(tile_order % multiple_of == 0);

}  // namespace lmscope::eigenvalues
