#include "eigenvalues/dense/tiles.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "runtime/elements/elements.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {

Tiles::Tiles(const MatrixView& matrix, int exponent)
    : order(matrix.rows),
      blocks((matrix.rows + tile_order - 1) / tile_order),
      entries_(lower_blocks(blocks) * tile_order * tile_order) {
    const double scale = std::ldexp(1.0, -exponent);
    parallel_for(lower_blocks(blocks), [&](int64_t task) {
        const auto [row, column] = lower_block(task);
        fill(matrix, scale, row, column);
    });
}

// Along the lines of the matrix in memory.
void Tiles::fill(const MatrixView& matrix, double scale, int64_t row, int64_t column) {
    const int64_t top = row * tile_order;
    const int64_t left = column * tile_order;
    const int64_t height = std::min(tile_order, order - top);
    const int64_t width = std::min(tile_order, order - left);
    const bool on_diagonal = row == column;
    double* target = tile(row, column);
    std::fill_n(target, tile_order * tile_order, 0.0);
    if (matrix.row_stride == 1) {
        for (int64_t j = 0; j < width; ++j) {
            const int64_t from = on_diagonal ? j : 0;
            elements::widen_line(matrix, top + from, left + j, height - from, true, scale,
                                 target + from + j * tile_order);
        }
    } else {
        double line[tile_order];
        for (int64_t i = 0; i < height; ++i) {
            const int64_t count = on_diagonal ? i + 1 : width;
            elements::widen_line(matrix, top + i, left, count, false, scale, line);
            for (int64_t j = 0; j < count; ++j) target[i + j * tile_order] = line[j];
        }
    }
    if (!on_diagonal) return;
    for (int64_t j = 0; j < width; ++j)
        for (int64_t i = j + 1; i < height; ++i) target[j + i * tile_order] = target[i + j * tile_order];
}

void Tiles::subtract_from_diagonal(double shift) {
    for (int64_t i = 0; i < order; ++i)
        tile(i / tile_order, i / tile_order)[i % tile_order * (tile_order + 1)] -= shift;
}

void Tiles::reflect(const double* unit_vector) {
    const int64_t padded = blocks * tile_order;
    AlignedBuffer v(padded), w(padded);
    std::copy_n(unit_vector, order, v.data());
    std::fill_n(v.data() + order, padded - order, 0.0);
    parallel_for(blocks, [&](int64_t row) {
        double* sums = w.data() + row * tile_order;
        std::fill_n(sums, tile_order, 0.0);
        for (int64_t other = 0; other < blocks; ++other) {
            const double* entries = other <= row ? tile(row, other) : tile(other, row);
            const double* factors = v.data() + other * tile_order;
            for (int64_t j = 0; j < tile_order; ++j) {
                const double* column = entries + j * tile_order;
                if (other <= row)
                    for (int64_t i = 0; i < tile_order; ++i) sums[i] += factors[j] * column[i];
                else
                    sums[j] += std::inner_product(column, column + tile_order, factors, 0.0);
            }
        }
    });
    const double quotient = std::inner_product(w.data(), w.data() + order, v.data(), 0.0);
    for (int64_t i = 0; i < order; ++i) w[i] = 2 * (w[i] - quotient * v[i]);
    parallel_for(lower_blocks(blocks), [&](int64_t task) {
        const auto [row, column] = lower_block(task);
        double* entries = tile(row, column);
        const double *v_row = v.data() + row * tile_order, *w_row = w.data() + row * tile_order;
        const double *v_column = v.data() + column * tile_order, *w_column = w.data() + column * tile_order;
        for (int64_t j = 0; j < tile_order; ++j)
            for (int64_t i = 0; i < tile_order; ++i)
                entries[i + j * tile_order] -= v_row[i] * w_column[j] + w_row[i] * v_column[j];
    });
}

}  // namespace lmscope::eigenvalues
