#include "eigenvalues/dense/dense_to_band.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "eigenvalues/band/width.h"
#include "eigenvalues/dense/panel.h"
#include "lmscope/isa.h"
#include "runtime/blas.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

using blas::Op;

static_assert(tile_order % band_width == 0 && band_width % multiple_of == 0);

// Rows of A V that one task computes.
constexpr int64_t rows_per_task = 48;
static_assert(tile_order % rows_per_task == 0 && rows_per_task % multiple_of == 0);

// Tiles of one row that one task updates.
constexpr int64_t columns_per_strip = 4;

const TileKernels& tile_kernels() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return tile_kernels_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return tile_kernels_avx2;
#endif
    return tile_kernels_scalar;
}

Band empty_band(int64_t order, int64_t width) {
    Band band{order, width, AlignedBuffer((width + 1) * order)};
    std::fill_n(band.entries.data(), (width + 1) * order, 0.0);
    return band;
}

// The trailing block A from row and column `first` on becomes Q^T A Q = A - V W^T - W V^T with
// W = A V T - 1/2 V (T^T V^T A V T), panel by panel.
class Reduction {
public:
    explicit Reduction(Tiles& tiles)
        : tiles_(tiles),
          padded_(tiles.blocks * tile_order),
          panels_((tiles.order - 1) / band_width),
          scales_(panels_ * band_width * band_width),
          panel_(tiles, scales_.data()),
          w_(padded_ * band_width),
          v_packed_(padded_ * band_width),
          w_packed_(padded_ * band_width),
          partial_(padded_ / rows_per_task * band_width * band_width),
          small_(band_width * band_width) {}

    BandReduction run() {
        Band band = empty_band(tiles_.order, band_width);
        panel_.factor(band_width, band);
        for (int64_t first = band_width; first < tiles_.order; first += band_width) {
            multiply(first);
            complete(first);
            update(first, band);
        }
        return {std::move(band), std::move(scales_), panels_};
    }

private:
    const double* v() const { return panel_.reflectors(); }

    // The tile of this block of rows and that block of columns, transposed where it lies above the diagonal.
    const double* beside(int64_t block, int64_t other) {
        return other <= block ? tiles_.tile(block, other) : tiles_.tile(other, block);
    }

    // A V T, and the parts of V^T A V T.
    void multiply(int64_t first) {
        const int64_t first_task = first / rows_per_task;
        parallel_for(padded_ / rows_per_task - first_task, [&](int64_t index) {
            const int64_t top = (first_task + index) * rows_per_task;
            const int64_t block = top / tile_order;
            const Range rows = {top % tile_order, top % tile_order + rows_per_task};
            double* target = w_.data() + block * tile_order * band_width;
            double* own = w_.data() + top * band_width;
            std::fill_n(own, rows_per_task * band_width, 0.0);
            for (int64_t other = first / tile_order; other < tiles_.blocks; ++other) {
                const Range depth = {std::max<int64_t>(0, first - other * tile_order), tile_order};
                kernels_.multiply(beside(block, other), beside(block, std::min(other + 1, tiles_.blocks - 1)),
                                  other > block, rows, depth, v() + other * tile_order * band_width, band_width,
                                  target);
            }
            blas::solve_lower(Op::none, band_width, rows_per_task, panel_.scale(), band_width, own, band_width);
            blas::gemm(Op::none, Op::transpose, band_width, band_width, rows_per_task, 1.0, v() + top * band_width,
                       band_width, own, band_width, 0.0,
                       partial_.data() + (first_task + index) * band_width * band_width, band_width);
        });
    }

    // W whole, and both factors packed.
    void complete(int64_t first) {
        std::fill_n(small_.data(), band_width * band_width, 0.0);
        for (int64_t task = first / rows_per_task; task < padded_ / rows_per_task; ++task)
            for (int64_t i = 0; i < band_width * band_width; ++i)
                small_[i] += partial_[task * band_width * band_width + i];
        blas::solve_lower(Op::none, band_width, band_width, panel_.scale(), band_width, small_.data(), band_width);
        const int64_t first_block = first / tile_order;
        parallel_for(tiles_.blocks - first_block, [&](int64_t index) {
            const int64_t top = (first_block + index) * tile_order;
            const int64_t from = std::max(top, first);
            std::fill_n(w_.data() + top * band_width, (from - top) * band_width, 0.0);
            blas::gemm(Op::transpose, Op::none, band_width, top + tile_order - from, band_width, -0.5, small_.data(),
                       band_width, v() + from * band_width, band_width, 1.0, w_.data() + from * band_width, band_width);
            pack(v() + top * band_width, v_packed_.data() + top * band_width);
            pack(w_.data() + top * band_width, w_packed_.data() + top * band_width);
        });
    }

    void pack(const double* rows, double* target) const {
        const int64_t height = kernels_.height;
        for (int64_t top = 0; top < tile_order; top += height)
            for (int64_t i = 0; i < height; ++i)
                for (int64_t k = 0; k < band_width; ++k)
                    target[top * band_width + k * height + i] = rows[(top + i) * band_width + k];
    }

    // One thread updates and factors the next panel while the others update what is right of it, column group by column
    // group: the factors of a group stay in the second-level cache.
    void update(int64_t first, Band& band) {
        const int64_t block = first / tile_order;
        const int64_t next = first + band_width;
        const Range left = {first % tile_order, first % tile_order + band_width};
        strips_.clear();
        for (int64_t column = block; column < tiles_.blocks; column += columns_per_strip)
            for (int64_t row = column; row < tiles_.blocks; ++row) strips_.push_back({row, column});
        parallel_for(1 + static_cast<int64_t>(strips_.size()), [&](int64_t task) {
            if (task == 0) {
                for (int64_t row = block; row < tiles_.blocks; ++row) update_tile(row, block, left, first);
                if (next < tiles_.order)
                    panel_.factor(next, band);
                else
                    panel_.finish(first, band);
                return;
            }
            const auto [row, from] = strips_[static_cast<size_t>(task - 1)];
            for (int64_t column = from; column < std::min(from + columns_per_strip, row + 1); ++column)
                update_tile(row, column, {column == block ? left.end : 0, tile_order}, first);
        });
    }

    void update_tile(int64_t row, int64_t column, Range columns, int64_t first) {
        const int64_t top = row * tile_order * band_width;
        const int64_t left = column * tile_order * band_width;
        const Range rows = {std::max<int64_t>(0, first - row * tile_order), tile_order};
        kernels_.update(tiles_.tile(row, column), rows, columns, v_packed_.data() + top, w_packed_.data() + top,
                        v_packed_.data() + left, w_packed_.data() + left, band_width);
    }

    const TileKernels& kernels_ = tile_kernels();
    Tiles& tiles_;
    const int64_t padded_;
    const int64_t panels_;
    AlignedBuffer scales_;
    Panel panel_;
    std::vector<std::pair<int64_t, int64_t>> strips_;
    AlignedBuffer w_, v_packed_, w_packed_, partial_, small_;
};

}  // namespace

BandReduction dense_to_band(Tiles& tiles) {
    if (tiles.order > band_width + 1) return Reduction(tiles).run();
    Band band = empty_band(tiles.order, std::max<int64_t>(1, tiles.order - 1));
    for (int64_t j = 0; j < tiles.order; ++j)
        for (int64_t i = j; i < tiles.order; ++i) band.entries[i - j + j * (band.width + 1)] = tiles.at(i, j);
    return {std::move(band), AlignedBuffer(), 0};
}

}  // namespace lmscope::eigenvalues
