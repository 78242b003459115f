#include "eigenvalues/dense/panel.h"

#include <algorithm>

#include "runtime/blas.h"

namespace lmscope::eigenvalues {

using blas::Op;

Panel::Panel(Tiles& tiles, int64_t width, double* scales)
    : tiles_(tiles),
      width_(width),
      scales_(scales),
      columns_(tiles.order * width),
      reflectors_(tiles.blocks * tile_order * width) {
    std::fill_n(reflectors_.data(), tiles.blocks * tile_order * width, 0.0);
}

void Panel::copy_diagonal_block(int64_t begin, int64_t end, Band& band) {
    for (int64_t j = begin; j < end; ++j)
        for (int64_t i = j; i < end; ++i) band.entries[i - j + j * (band.width + 1)] = tiles_.at(i, j);
}

void Panel::finish(int64_t first, Band& band) { copy_diagonal_block(first, tiles_.order, band); }

// Calls visit(entries, row, height) for the panel's part in each tile, whose first row is `row`.
template <typename Visit>
void Panel::for_each_part(int64_t first, Visit&& visit) {
    const int64_t left = first - width_;
    for (int64_t row = first; row < tiles_.order; row = (row / tile_order + 1) * tile_order) {
        const int64_t height = std::min(tiles_.order, (row / tile_order + 1) * tile_order) - row;
        visit(tiles_.tile(row / tile_order, left / tile_order) + row % tile_order + left % tile_order * tile_order, row,
              height);
    }
}

void Panel::factor(int64_t first, Band& band) {
    const int64_t rows = tiles_.order - first;
    const int64_t left = first - width_;
    const int64_t count = std::min(rows, width_);
    copy_diagonal_block(left, first, band);
    scale_ = scales_ + (first / width_ - 1) * width_ * width_;
    for_each_part(first, [&](double* tile, int64_t row, int64_t height) {
        for (int64_t j = 0; j < width_; ++j)
            std::copy_n(tile + j * tile_order, height, columns_.data() + row - first + j * rows);
    });
    blas::qr_compact(rows, width_, count, columns_.data(), rows, scale_, width_);
    for (int64_t j = 0; j < width_; ++j)
        for (int64_t i = 0; i < std::min(j + 1, rows); ++i)
            band.entries[first + i - left - j + (left + j) * (band.width + 1)] = columns_[i + j * rows];

    for (int64_t j = 0; j < width_; ++j) {
        // A zero factor stands for the identity, here a zero vector.
        double* column = columns_.data() + j * rows;
        const bool identity = j >= count || scale_[j + j * width_] == 0.0;
        std::fill_n(column, identity ? rows : std::min(j, rows), 0.0);
        if (!identity) column[j] = 1.0;
    }
    std::fill_n(reflectors_.data() + left * width_, width_ * width_, 0.0);
    for_each_part(first, [&](double* tile, int64_t row, int64_t height) {
        for (int64_t j = 0; j < width_; ++j) {
            const double* column = columns_.data() + row - first + j * rows;
            std::copy_n(column, height, tile + j * tile_order);
            for (int64_t i = 0; i < height; ++i) reflectors_[(row + i) * width_ + j] = column[i];
        }
    });
    invert_scale(first);
}

// From V alone: I - V T V^T is orthogonal exactly where T^-1 + T^-T = V^T V, so that errors of the panel's own scale
// factors do not reach the trailing block. Short partial sums: where all terms have one sign, as in a matrix near rank
// one, the rounding errors of a long sum do too, and add up.
void Panel::invert_scale(int64_t first) {
    for (int64_t row = first; row < tiles_.order; row += tile_order) {
        const double* part = reflectors_.data() + row * width_;
        blas::gemm(Op::none, Op::transpose, width_, width_, std::min(tile_order, tiles_.order - row), 1.0, part, width_,
                   part, width_, row == first ? 0.0 : 1.0, scale_, width_);
    }
    for (int64_t j = 0; j < width_; ++j) {
        double& diagonal = scale_[j + j * width_];
        diagonal = diagonal == 0.0 ? 1.0 : 0.5 * diagonal;
    }
}

}  // namespace lmscope::eigenvalues
