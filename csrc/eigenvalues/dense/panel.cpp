#include "eigenvalues/dense/panel.h"

#include <algorithm>

#include "runtime/blas.h"

namespace lmscope::eigenvalues {

using blas::Op;

Panel::Panel(Tiles& tiles, double* scales)
    : tiles_(tiles),
      scales_(scales),
      columns_(tiles.order * band_width),
      reflectors_(tiles.blocks * tile_order * band_width) {
    std::fill_n(reflectors_.data(), tiles.blocks * tile_order * band_width, 0.0);
}

void Panel::copy_diagonal_block(int64_t begin, int64_t end, Band& band) {
    for (int64_t j = begin; j < end; ++j)
        for (int64_t i = j; i < end; ++i) band.entries[i - j + j * (band.width + 1)] = tiles_.at(i, j);
}

void Panel::finish(int64_t first, Band& band) { copy_diagonal_block(first, tiles_.order, band); }

void Panel::factor(int64_t first, Band& band) {
    const int64_t rows = tiles_.order - first;
    const int64_t left = first - band_width;
    const int64_t count = std::min(rows, band_width);
    copy_diagonal_block(left, first, band);
    scale_ = scales_ + (first / band_width - 1) * band_width * band_width;
    for_each_part(tiles_, first, [&](double* tile, int64_t row, int64_t height) {
        for (int64_t j = 0; j < band_width; ++j)
            std::copy_n(tile + j * tile_order, height, columns_.data() + row - first + j * rows);
    });
    blas::qr_compact(rows, band_width, count, columns_.data(), rows, scale_, band_width);
    for (int64_t j = 0; j < band_width; ++j)
        for (int64_t i = 0; i < std::min(j + 1, rows); ++i)
            band.entries[first + i - left - j + (left + j) * (band.width + 1)] = columns_[i + j * rows];

    for (int64_t j = 0; j < band_width; ++j) {
        // A zero factor stands for the identity, here a zero vector.
        double* column = columns_.data() + j * rows;
        const bool identity = j >= count || scale_[j + j * band_width] == 0.0;
        std::fill_n(column, identity ? rows : std::min(j, rows), 0.0);
        if (!identity) column[j] = 1.0;
    }
    std::fill_n(reflectors_.data() + left * band_width, band_width * band_width, 0.0);
    for_each_part(tiles_, first, [&](double* tile, int64_t row, int64_t height) {
        for (int64_t j = 0; j < band_width; ++j) {
            const double* column = columns_.data() + row - first + j * rows;
            std::copy_n(column, height, tile + j * tile_order);
            for (int64_t i = 0; i < height; ++i) reflectors_[(row + i) * band_width + j] = column[i];
        }
    });
    invert_scale(first);
}

// From V alone: I - V T V^T is orthogonal exactly where T^-1 + T^-T = V^T V, so that errors of the panel's own scale
// factors do not reach the trailing block. Short partial sums: where all terms have one sign, as in a matrix near rank
// one, the rounding errors of a long sum do too, and add up.
void Panel::invert_scale(int64_t first) {
    for (int64_t row = first; row < tiles_.order; row += tile_order) {
        const double* part = reflectors_.data() + row * band_width;
        blas::gemm(Op::none, Op::transpose, band_width, band_width, std::min(tile_order, tiles_.order - row), 1.0, part,
                   band_width, part, band_width, row == first ? 0.0 : 1.0, scale_, band_width);
    }
    for (int64_t j = 0; j < band_width; ++j) {
        double& diagonal = scale_[j + j * band_width];
        diagonal = diagonal == 0.0 ? 1.0 : 0.5 * diagonal;
    }
}

}  // namespace lmscope::eigenvalues
