#include "eigenvalues/dense/tiles.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {

Tiles::Tiles(int64_t order_, const double* lower, int64_t stride)
    : order(order_),
      blocks((order_ + tile_order - 1) / tile_order),
      entries_(lower_blocks(blocks) * tile_order * tile_order) {
    parallel_for(lower_blocks(blocks), [&](int64_t task) {
        const auto [row, column] = lower_block(task);
        const int64_t top = row * tile_order;
        const int64_t left = column * tile_order;
        const int64_t height = std::min(tile_order, order - top);
        const int64_t width = std::min(tile_order, order - left);
        double* target = tile(row, column);
        std::fill_n(target, tile_order * tile_order, 0.0);
        for (int64_t j = 0; j < width; ++j) {
            const double* source = lower + top + (left + j) * stride;
            const int64_t from = row == column ? j : 0;
            std::copy(source + from, source + height, target + from + j * tile_order);
            if (row == column)
                for (int64_t i = j + 1; i < height; ++i) target[j + i * tile_order] = source[i];
        }
    });
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
