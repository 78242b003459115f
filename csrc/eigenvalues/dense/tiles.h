#pragma once

#include <cstdint>

#include "eigenvalues/dense/tile.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// The lower triangle of a symmetric matrix in tiles, those on the diagonal whole; zeros beyond its order.
class Tiles {
public:
    // From the lower triangle of a column-major matrix.
    Tiles(int64_t order, const double* lower, int64_t stride);

    void subtract_from_diagonal(double shift);

    // H A H for a fixed random reflection H = I - 2 v v^T: same eigenvalues, but no equal entries left. Those make the
    // rounding errors of a reduction all have one sign and add up.
    void reflect();

    double* tile(int64_t row, int64_t column) {
        return entries_.data() + (row * (row + 1) / 2 + column) * tile_order * tile_order;
    }
    double at(int64_t row, int64_t column) {
        return tile(row / tile_order, column / tile_order)[row % tile_order + column % tile_order * tile_order];
    }

    const int64_t order;
    const int64_t blocks;

private:
    AlignedBuffer entries_;
};

}  // namespace lmscope::eigenvalues
