#pragma once

#include <cstdint>

#include "eigenvalues/dense/tile.h"
#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// The lower triangle of a symmetric matrix in tiles, those on the diagonal whole; zeros beyond its order.
class Tiles {
public:
    // From the lower triangle of a square matrix times 2^-exponent.
    Tiles(const MatrixView& matrix, int exponent);

    void subtract_from_diagonal(double shift);

    // A <- H A H with the reflection H = I - 2 v v^T, v a unit vector.
    void reflect(const double* v);

    double* tile(int64_t row, int64_t column) {
        return entries_.data() + (row * (row + 1) / 2 + column) * tile_order * tile_order;
    }
    const double* tile(int64_t row, int64_t column) const { return const_cast<Tiles*>(this)->tile(row, column); }
    double at(int64_t row, int64_t column) const {
        return tile(row / tile_order, column / tile_order)[row % tile_order + column % tile_order * tile_order];
    }

    const int64_t order;
    const int64_t blocks;

private:
    void fill(const MatrixView& matrix, double scale, int64_t row, int64_t column);

    AlignedBuffer entries_;
};

}  // namespace lmscope::eigenvalues
