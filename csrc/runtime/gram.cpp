#include "runtime/gram.h"

#include <algorithm>

#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

using blas::Op;

int64_t block_order(int64_t columns) {
    return columns <= 256 ? 64 : columns <= 1024 ? 128 : columns <= 2048 ? 256 : 512;
}

}  // namespace

void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram) {
    const int64_t block = block_order(columns);
    const int64_t blocks = (columns + block - 1) / block;
    const Op left = chunk.transposed ? Op::none : Op::transpose;
    const Op right = chunk.transposed ? Op::transpose : Op::none;
    const auto part = [&](int64_t first_row, int64_t column) {
        return chunk.data + (chunk.transposed ? column + first_row * chunk.stride : first_row + column * chunk.stride);
    };
    parallel_for(lower_blocks(blocks), [&](int64_t task) {
        // The chunk's own sum first: the library adds to its target every few hundred rows, and where all rows are
        // alike the rounding errors of so many additions to one growing sum all have one sign.
        thread_local AlignedBuffer sum;
        thread_local int64_t capacity = 0;
        if (capacity < block * block) {
            sum = AlignedBuffer(block * block);
            capacity = block * block;
        }
        const auto [block_row, block_column] = lower_block(task);
        const int64_t row = block_row * block;
        const int64_t column = block_column * block;
        const int64_t height = std::min(block, columns - row);
        double* target = gram + row + column * columns;
        const int64_t width = row == column ? height : block;
        std::fill_n(sum.data(), height * width, 0.0);
        for (int64_t first = 0; first < chunk.rows; first += gram_run) {
            const int64_t rows = std::min(gram_run, chunk.rows - first);
            if (row == column)
                blas::syrk_lower(left, height, rows, 1.0, part(first, row), chunk.stride, sum.data(), height);
            else
                blas::gemm(left, right, height, width, rows, 1.0, part(first, row), chunk.stride, part(first, column),
                           chunk.stride, 1.0, sum.data(), height);
        }
        for (int64_t j = 0; j < width; ++j)
            for (int64_t i = row == column ? j : 0; i < height; ++i) target[i + j * columns] += sum[i + j * height];
    });
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
