#include "eigenvalues/dense/dense_to_band.h"

#include <algorithm>
#include <utility>

#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

using blas::Op;

// Wide bands make the dense stage level 3, narrow ones make the band stage, 6 band order^2 operations, cheap.
int64_t band_width(int64_t order) { return order <= 1024 ? 32 : 64; }

// A multiple of short_sum.
int64_t tile_order(int64_t order) { return order <= 1024 ? 128 : 256; }

constexpr int64_t short_sum = 128;

int64_t block_count(int64_t order, int64_t block) { return (order + block - 1) / block; }

// Row and column of the task-th block of a lower triangle of blocks.
std::pair<int64_t, int64_t> lower_block(int64_t task) {
    int64_t row = 0;
    while ((row + 1) * (row + 2) / 2 <= task) ++row;
    return {row, task - row * (row + 1) / 2};
}

// One panel: A[first:, first - band:first] = Q R is annihilated below R, and the trailing block becomes Q^T A Q.
class PanelUpdate {
public:
    PanelUpdate(int64_t order, int64_t band, double* matrix)
        : order_(order),
          band_(band),
          matrix_(matrix),
          reflectors_(order * band),
          update_(order * band),
          scale_(band * band),
          small_(band * band) {}

    void run(int64_t first) {
        const int64_t rows = order_ - first;
        const int64_t count = std::min(rows, band_);
        double* panel = matrix_ + first + (first - band_) * order_;
        blas::qr_compact(rows, band_, count, panel, order_, scale_.data(), band_);
        for (int64_t j = 0; j < count; ++j) {
            double* column = reflectors_.data() + j * rows;
            std::fill_n(column, rows, 0.0);
            // A zero factor stands for the identity, here a zero vector.
            if (scale_[j + j * band_] == 0.0) continue;
            column[j] = 1.0;
            std::copy_n(panel + j * order_ + j + 1, rows - j - 1, column + j + 1);
        }
        invert_scale(rows, count);
        double* trailing = matrix_ + first + first * order_;
        const int64_t tile = tile_order(rows);
        const int64_t tiles = block_count(rows, tile);
        // W = A V T - 1/2 V (T^T V^T A V T); then Q^T A Q = A - V W^T - W V^T.
        parallel_for(tiles, [&](int64_t row) { multiply_row(trailing, rows, count, tile, row); });
        deep_product(rows, count, reflectors_.data(), update_.data(), small_.data());
        blas::solve_lower(Op::none, count, count, scale_.data(), band_, small_.data(), band_);
        parallel_for(tiles, [&](int64_t row) {
            const int64_t start = row * tile;
            blas::gemm(Op::none, Op::none, std::min(tile, rows - start), count, count, -0.5, reflectors_.data() + start,
                       rows, small_.data(), band_, 1.0, update_.data() + start, rows);
        });
        parallel_for(tiles * (tiles + 1) / 2, [&](int64_t task) {
            const auto [row, column] = lower_block(task);
            const int64_t top = row * tile;
            const int64_t left = column * tile;
            const int64_t height = std::min(tile, rows - top);
            double* target = trailing + top + left * order_;
            if (row == column) {
                blas::syr2k_lower(height, count, -1.0, reflectors_.data() + top, rows, update_.data() + top, rows,
                                  target, order_);
                return;
            }
            blas::gemm(Op::none, Op::transpose, height, tile, count, -1.0, reflectors_.data() + top, rows,
                       update_.data() + left, rows, 1.0, target, order_);
            blas::gemm(Op::none, Op::transpose, height, tile, count, -1.0, update_.data() + top, rows,
                       reflectors_.data() + left, rows, 1.0, target, order_);
        });
    }

private:
    // X^T Y over a long depth. Short partial sums: where all terms have one sign, as in a matrix near rank one, the
    // rounding errors of a long sum do too, and add up.
    void deep_product(int64_t depth, int64_t count, const double* x, const double* y, double* product) {
        for (int64_t start = 0; start < depth; start += short_sum)
            blas::gemm(Op::transpose, Op::none, count, count, std::min(short_sum, depth - start), 1.0, x + start, depth,
                       y + start, depth, start == 0 ? 0.0 : 1.0, product, band_);
    }

    // Lower triangle of T^-T from V alone: I - V T V^T is orthogonal exactly where T^-1 + T^-T = V^T V, so that errors
    // of the panel's own scale factors do not reach the trailing block.
    void invert_scale(int64_t rows, int64_t count) {
        deep_product(rows, count, reflectors_.data(), reflectors_.data(), scale_.data());
        for (int64_t j = 0; j < count; ++j) {
            double& diagonal = scale_[j + j * band_];
            diagonal = diagonal == 0.0 ? 1.0 : 0.5 * diagonal;
        }
    }

    // Rows of W = (A V) T from the lower triangle of A.
    void multiply_row(const double* trailing, int64_t rows, int64_t count, int64_t tile, int64_t row) {
        const int64_t top = row * tile;
        const int64_t height = std::min(tile, rows - top);
        double* product = update_.data() + top;
        blas::symm_lower(height, count, trailing + top + top * order_, order_, reflectors_.data() + top, rows, product,
                         rows);
        for (int64_t left = 0; left < rows; left += short_sum) {
            if (left >= top && left < top + height) continue;
            const bool stored = left < top;
            blas::gemm(stored ? Op::none : Op::transpose, Op::none, height, count, std::min(short_sum, rows - left),
                       1.0, stored ? trailing + top + left * order_ : trailing + left + top * order_, order_,
                       reflectors_.data() + left, rows, 1.0, product, rows);
        }
        blas::solve_right_transposed(height, count, scale_.data(), band_, product, rows);
    }

    int64_t order_;
    int64_t band_;
    double* matrix_;
    AlignedBuffer reflectors_, update_, scale_, small_;
};

}  // namespace

Band dense_to_band(int64_t order, double* matrix) {
    const int64_t width = std::min(band_width(order), std::max<int64_t>(1, order - 1));
    {
        PanelUpdate panel(order, width, matrix);
        for (int64_t first = width; first < order; first += width) panel.run(first);
    }
    Band band{order, width, AlignedBuffer((width + 1) * order)};
    std::fill_n(band.entries.data(), (width + 1) * order, 0.0);
    for (int64_t j = 0; j < order; ++j)
        std::copy_n(matrix + j + j * order, std::min(width + 1, order - j), band.entries.data() + j * (width + 1));
    return band;
}

}  // namespace lmscope::eigenvalues
