#include "runtime/gram/gram.h"

#include <algorithm>

#include "lmscope/isa.h"
#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"
#include "runtime/gram/kernels.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

using blas::Op;

// A multiple of the rows of every table's panels.
int64_t block_order(int64_t columns) { return columns <= 1024 ? 96 : columns <= 2048 ? 192 : 288; }

const gram::Kernels& kernels() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return gram::kernels_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return gram::kernels_avx2;
#endif
    return gram::kernels_scalar;
}

int64_t rounded_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// Lower triangle of G += X^T X for packed rows X. Each block's own sum first: where all rows are alike, the rounding
// errors of many additions to one growing sum all have one sign.
void add_packed(const gram::Kernels& kernel, const double* packed, int64_t rows, int64_t columns, double* gram) {
    const int64_t block = block_order(columns);
    const int64_t panel_stride = kernel.height * rows;
    parallel_for(lower_blocks((columns + block - 1) / block), [&](int64_t task) {
        thread_local AlignedBuffer sums;
        thread_local int64_t capacity = 0;
        if (capacity < block * block) {
            sums = AlignedBuffer(block * block);
            capacity = block * block;
        }
        const auto [block_row, block_column] = lower_block(task);
        const int64_t row = block_row * block;
        const int64_t column = block_column * block;
        const bool on_diagonal = row == column;
        const int64_t height = std::min(block, columns - row);
        const int64_t width = std::min(block, columns - column);
        std::fill_n(sums.data(), block * block, 0.0);
        for (int64_t first = 0; first < rows; first += gram_run)
            kernel.add_products(packed + row / kernel.height * panel_stride + first * kernel.height,
                                packed + column / kernel.height * panel_stride + first * kernel.height, panel_stride,
                                std::min(gram_run, rows - first), rounded_up(height, kernel.height),
                                rounded_up(width, kernel.height), on_diagonal, sums.data(), block);
        double* target = gram + row + column * columns;
        for (int64_t j = 0; j < width; ++j)
            for (int64_t i = on_diagonal ? j : 0; i < height; ++i) target[i + j * columns] += sums[i + j * block];
    });
}

}  // namespace

int64_t add_gram(const MatrixView& matrix, int64_t rows_at_once, int exponent, double* gram) {
    const gram::Kernels& kernel = kernels();
    const int64_t step = std::min(rows_at_once, matrix.rows);
    AlignedBuffer packed(step * rounded_up(matrix.columns, kernel.height));
    int64_t sums = 0;
    for (int64_t first = 0; first < matrix.rows; first += step, ++sums) {
        const int64_t rows = std::min(step, matrix.rows - first);
        elements::pack_rows(matrix, first, rows, exponent, kernel.height, packed.data());
        add_packed(kernel, packed.data(), rows, matrix.columns, gram);
    }
    return sums;
}

void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram) {
    const MatrixView rows{chunk.data,
                          DType::float64,
                          chunk.rows,
                          columns,
                          chunk.transposed ? chunk.stride : 1,
                          chunk.transposed ? 1 : chunk.stride};
    add_gram(rows, chunk.rows, 0, gram);
}

void add_products(const elements::Chunk& x, int64_t x_columns, const elements::Chunk& y, int64_t y_columns,
                  double* products, double* squares) {
    constexpr int64_t block = 32;
    const auto part = [](const elements::Chunk& chunk, int64_t row, int64_t column) {
        return chunk.data + (chunk.transposed ? column + row * chunk.stride : row + column * chunk.stride);
    };
    parallel_for((y_columns + block - 1) / block, [&](int64_t task) {
        const int64_t column = task * block;
        const int64_t width = std::min(block, y_columns - column);
        AlignedBuffer sum(x_columns * width);
        std::fill_n(sum.data(), x_columns * width, 0.0);
        for (int64_t first = 0; first < x.rows; first += gram_run) {
            const int64_t rows = std::min(gram_run, x.rows - first);
            blas::gemm(x.transposed ? Op::none : Op::transpose, y.transposed ? Op::transpose : Op::none, x_columns,
                       width, rows, 1.0, part(x, first, 0), x.stride, part(y, first, column), y.stride, 1.0, sum.data(),
                       x_columns);
            for (int64_t j = 0; j < width; ++j) {
                double square = 0;
                for (int64_t i = 0; i < rows; ++i) {
                    const double value = *part(y, first + i, column + j);
                    square += value * value;
                }
                squares[column + j] += square;
            }
        }
        for (int64_t i = 0; i < x_columns * width; ++i) products[column * x_columns + i] += sum[i];
    });
}

void copy_lower_to_upper(int64_t order, double* matrix) {
    constexpr int64_t block = 64;
    const int64_t blocks = (order + block - 1) / block;
    parallel_for(blocks, [&](int64_t block_column) {
        for (int64_t block_row = block_column; block_row < blocks; ++block_row)
            for (int64_t j = block_column * block; j < std::min(order, (block_column + 1) * block); ++j)
                for (int64_t i = std::max(j + 1, block_row * block); i < std::min(order, (block_row + 1) * block); ++i)
                    matrix[j + i * order] = matrix[i + j * order];
    });
}

}  // namespace lmscope
