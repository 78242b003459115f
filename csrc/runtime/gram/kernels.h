#pragma once

#include <cstdint>

namespace lmscope::gram {

// Chunks are packed in panels of `height` columns, row by row: column j of row k at j / height * height * rows +
// k * height + j % height, zeros in the last panel's missing columns.
struct Kernels {
    int64_t height;

    // S += X^T Y over `depth` rows from the first one given on; X and Y are the packed columns that the rows and
    // columns of the block S (column-major) stand for, `panel_stride` the distance of their panels. Rows and columns
    // are rounded up to whole panels. Where the block lies on the diagonal, only what reaches its lower triangle is
    // computed.
    void (*add_products)(const double* x, const double* y, int64_t panel_stride, int64_t depth, int64_t rows,
                         int64_t columns, bool on_diagonal, double* sums, int64_t stride);
};
extern const Kernels kernels_scalar;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;

}  // namespace lmscope::gram
