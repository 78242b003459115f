#pragma once

#include <cstdint>

#include "eigenvalues/band/band.h"
#include "eigenvalues/dense/tiles.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// The QR factorisation of one panel: the columns left of `first`, from row `first` on.
class Panel {
public:
    Panel(Tiles& tiles, int64_t width);

    // Annihilates the panel below its triangular factor, which goes to the band, with the diagonal block beside it.
    void factor(int64_t first, Band& band);

    // The diagonal block that no panel is left of.
    void finish(int64_t first, Band& band);

    // Row-major, a row for each of the matrix's (zeros above the panel): reflectors V of Q = I - V T V^T.
    const double* reflectors() const { return reflectors_.data(); }

    // Lower triangle L of T^-T.
    const double* scale() const { return scale_.data(); }

private:
    void copy_diagonal_block(int64_t begin, int64_t end, Band& band);
    void invert_scale(int64_t first);

    Tiles& tiles_;
    const int64_t width_;
    AlignedBuffer columns_, reflectors_, scale_;
};

}  // namespace lmscope::eigenvalues
