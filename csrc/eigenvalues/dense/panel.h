#pragma once

#include <algorithm>
#include <cstdint>

#include "eigenvalues/band/band.h"
#include "eigenvalues/band/width.h"
#include "eigenvalues/dense/tiles.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// Calls visit(entries, row, height) for the part in each tile of the panel left of column `first`, from row `first` on;
// `row` is the part's first.
template <typename AnyTiles, typename Visit>
void for_each_part(AnyTiles& tiles, int64_t first, Visit&& visit) {
    const int64_t left = first - band_width;
    for (int64_t row = first; row < tiles.order; row = (row / tile_order + 1) * tile_order)
        visit(tiles.tile(row / tile_order, left / tile_order) + row % tile_order + left % tile_order * tile_order, row,
              std::min(tiles.order, (row / tile_order + 1) * tile_order) - row);
}

// The QR factorisation of one panel: the columns left of `first`, from row `first` on.
class Panel {
public:
    // Lower triangles L of T^-T, panel after panel, are written to `scales`.
    Panel(Tiles& tiles, double* scales);

    // Annihilates the panel below its triangular factor, which goes to the band, with the diagonal block beside it. The
    // reflectors stay in the panel's place.
    void factor(int64_t first, Band& band);

    // The diagonal block that no panel is left of.
    void finish(int64_t first, Band& band);

    // Row-major, a row for each of the matrix's (zeros above the panel): reflectors V of Q = I - V T V^T.
    const double* reflectors() const { return reflectors_.data(); }

    // Lower triangle L of T^-T.
    const double* scale() const { return scale_; }

private:
    void copy_diagonal_block(int64_t begin, int64_t end, Band& band);
    void invert_scale(int64_t first);

    Tiles& tiles_;
    double* const scales_;
    double* scale_ = nullptr;
    AlignedBuffer columns_, reflectors_;
};

}  // namespace lmscope::eigenvalues
