#include "eigenvalues/dense/panel.h"

#include <algorithm>

#include "runtime/blas.h"

namespace lmscope::eigenvalues {

using blas::Op;

Panel::Panel(Tiles& tiles, int64_t width)
    : tiles_(tiles),
      width_(width),
      columns_(tiles.order * width),
      reflectors_(tiles.blocks * tile_order * width),
      scale_(width * width) {
    std::fill_n(reflectors_.data(), tiles.blocks * tile_order * width, 0.0);
}

void Panel::copy_diagonal_block(int64_t begin, int64_t end, Band& band) {
    for (int64_t j = begin; j < end; ++j)
        for (int64_t i = j; i < end; ++i) band.entries[i - j + j * (band.width + 1)] = tiles_.at(i, j);
}

void Panel::finish(int64_t first, Band& band) { copy_diagonal_block(first, tiles_.order, band); }

void Panel::factor(int64_t first, Band& band) {
    const int64_t rows = tiles_.order - first;
    const int64_t left = first - width_;
    const int64_t count = std::min(rows, width_);
    copy_diagonal_block(left, first, band);
    const int64_t block_column = left / tile_order;
    for (int64_t row = first; row < tiles_.order; row = (row / tile_order + 1) * tile_order) {
        const int64_t end = std::min(tiles_.order, (row / tile_order + 1) * tile_order);
        const double* tile = tiles_.tile(row / tile_order, block_column) + left % tile_order * tile_order;
        for (int64_t j = 0; j < width_; ++j)
            std::copy_n(tile + row % tile_order + j * tile_order, end - row, columns_.data() + row - first + j * rows);
    }
    blas::qr_compact(rows, width_, count, columns_.data(), rows, scale_.data(), width_);
    for (int64_t j = 0; j < width_; ++j)
        for (int64_t i = 0; i < std::min(j + 1, rows); ++i)
            band.entries[first + i - left - j + (left + j) * (band.width + 1)] = columns_[i + j * rows];

    std::fill_n(reflectors_.data() + left * width_, width_ * width_, 0.0);
    double* target = reflectors_.data() + first * width_;
    for (int64_t j = 0; j < width_; ++j) {
        // A zero factor stands for the identity, here a zero vector.
        const bool identity = j >= count || scale_[j + j * width_] == 0.0;
        for (int64_t i = 0; i < std::min(j + 1, rows); ++i) target[i * width_ + j] = !identity && i == j ? 1.0 : 0.0;
        for (int64_t i = j + 1; i < rows; ++i) target[i * width_ + j] = identity ? 0.0 : columns_[i + j * rows];
    }
    invert_scale(first);
}

// From V alone: I - V T V^T is orthogonal exactly where T^-1 + T^-T = V^T V, so that errors of the panel's own scale
// factors do not reach the trailing block. Short partial sums: where all terms have one sign, as in a matrix near rank
// one, the rounding errors of a long sum do too, and add up.
void Panel::invert_scale(int64_t first) {
    for (int64_t row = first; row < tiles_.order; row += tile_order) {
        const double* part = reflectors_.data() + row * width_;
        blas::gemm(Op::none, Op::transpose, width_, width_, std::min(tile_order, tiles_.order - row), 1.0, part, width_,
                   part, width_, row == first ? 0.0 : 1.0, scale_.data(), width_);
    }
    for (int64_t j = 0; j < width_; ++j) {
        double& diagonal = scale_[j + j * width_];
        diagonal = diagonal == 0.0 ? 1.0 : 0.5 * diagonal;
    }
}

}  // namespace lmscope::eigenvalues
