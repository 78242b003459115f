// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code.
#include <cstdint>

#include "eigenvalues/band/width.h"
#include "eigenvalues/dense/tile.h"
#include "runtime/packed_loops.h"

namespace lmscope::eigenvalues {
namespace {

// `broadcasts` rows of W by `vectors` vectors of it are in registers over the whole depth.
constexpr int broadcasts = lanes;
constexpr int vectors = 3;
static_assert(band_width % (vectors * lanes) == 0);

// Meanwhile the block at `next` comes nearer, a cache line a step.
template <bool transposed>
void multiply_block(const double* tile, const double* next, Range depth, const double* v, int64_t width, double* w) {
    Numbers sums[broadcasts][vectors] = {};
    for (int64_t k = depth.begin; k < depth.end; ++k) {
        __builtin_prefetch(next + k * (transposed ? lanes : tile_order));
        Numbers row[vectors];
#pragma GCC unroll 8
        for (int c = 0; c < vectors; ++c) row[c] = load(v + k * width + c * lanes);
#pragma GCC unroll 8
        for (int r = 0; r < broadcasts; ++r) {
            const double entry = transposed ? tile[k + r * tile_order] : tile[k * tile_order + r];
#pragma GCC unroll 8
            for (int c = 0; c < vectors; ++c) sums[r][c] += entry * row[c];
        }
    }
    for (int r = 0; r < broadcasts; ++r)
        for (int c = 0; c < vectors; ++c) {
            double* target = w + r * width + c * lanes;
            store(load(target) + sums[r][c], target);
        }
}

template <bool transposed>
void multiply_columns(const double* tile, const double* next_tile, Range rows, Range depth, const double* v,
                      int64_t width, double* w) {
    constexpr int64_t step = transposed ? tile_order : 1;
    for (int64_t column = 0; column < width; column += vectors * lanes)
        for (int64_t row = rows.begin; row < rows.end; row += broadcasts) {
            const int64_t next = row + broadcasts;
            multiply_block<transposed>(tile + row * step,
                                       next < rows.end ? tile + next * step : next_tile + rows.begin * step, depth,
                                       v + column, width, w + row * width + column);
        }
}

void multiply(const double* tile, const double* next_tile, bool transposed, Range rows, Range depth, const double* v,
              int64_t width, double* w) {
    const auto run = transposed ? multiply_columns<true> : multiply_columns<false>;
    run(tile, next_tile, rows, depth, v, width, w);
}

// Where the packed factors of a row (or column) of the tile lie.
inline int64_t packed(int64_t row, int64_t width) { return row / panel_rows * panel_rows * width + row % panel_rows; }

void update_block(double* tile, const double* v_left, const double* w_left, const double* v_right,
                  const double* w_right, int64_t width) {
    fetch_block(tile, tile_order);
    Sums sums = {};
    add_products(v_left, w_right, width, sums);
    add_products(w_left, v_right, width, sums);
    for (int c = 0; c < lanes; ++c)
        for (int r = 0; r < 3; ++r) {
            double* target = tile + c * tile_order + r * lanes;
            store(load(target) - sums[c][r], target);
        }
}

void update(double* tile, Range rows, Range columns, const double* v_left, const double* w_left, const double* v_right,
            const double* w_right, int64_t width) {
    // The packed panel on the left stays in the first-level cache while the columns pass.
    for (int64_t row = rows.begin; row < rows.end; row += panel_rows) {
        const int64_t left = packed(row, width);
        for (int64_t column = columns.begin; column < columns.end; column += lanes) {
            const int64_t right = packed(column, width);
            update_block(tile + row + column * tile_order, v_left + left, w_left + left, v_right + right,
                         w_right + right, width);
        }
    }
}

}  // namespace
}  // namespace lmscope::eigenvalues
