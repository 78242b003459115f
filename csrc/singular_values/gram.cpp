#include "singular_values/gram.h"

#include <algorithm>
#include <cmath>

#include "runtime/blas.h"
#include "runtime/thread_pool.h"
#include "singular_values/band_reduction.h"
#include "singular_values/tridiagonal.h"

namespace lmscope {
namespace {

using blas::Op;

int64_t block_order(int64_t columns) {
    return columns <= 256 ? 64 : columns <= 1024 ? 128 : columns <= 2048 ? 256 : 512;
}

void copy_triangle(int64_t order, double* matrix, bool lower_to_upper) {
    constexpr int64_t block = 64;
    const int64_t blocks = (order + block - 1) / block;
    parallel_for(blocks, [&](int64_t block_column) {
        for (int64_t block_row = block_column; block_row < blocks; ++block_row)
            for (int64_t j = block_column * block; j < std::min(order, (block_column + 1) * block); ++j)
                for (int64_t i = std::max(j + 1, block_row * block); i < std::min(order, (block_row + 1) * block);
                     ++i) {
                    double& lower = matrix[i + j * order];
                    double& upper = matrix[j + i * order];
                    (lower_to_upper ? upper : lower) = lower_to_upper ? lower : upper;
                }
    });
}

}  // namespace

Gram::Gram(int64_t columns_) : columns(columns_), triangle(columns_ * columns_) {
    std::fill_n(triangle.data(), columns * columns, 0.0);
}

void Gram::rescale(int new_exponent) {
    const double factor = std::ldexp(1.0, std::max(-1074, 2 * (exponent - new_exponent)));
    if (rows > 0)
        for (int64_t i = 0; i < columns * columns; ++i) triangle[i] *= factor;
    exponent = new_exponent;
}

void Gram::add(const MatrixView& matrix) {
    const int wanted = elements::scale_exponent(matrix);
    if (rows == 0)
        exponent = wanted;
    else if (wanted > exponent)
        rescale(wanted);
    for_each_chunk(matrix, elements::chunk_rows(columns), exponent, [&](const elements::Chunk& chunk) {
        add_chunk(chunk, columns, triangle.data());
        ++additions;
    });
    rows += matrix.rows;
}

void Gram::merge(const Gram& other) {
    if (other.rows == 0) return;
    if (rows == 0)
        exponent = other.exponent;
    else if (other.exponent > exponent)
        rescale(other.exponent);
    const double factor = std::ldexp(1.0, std::max(-1074, 2 * (other.exponent - exponent)));
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] += factor * other.triangle[i];
    rows += other.rows;
    additions += other.additions + 1;
}

void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram) {
    const int64_t block = block_order(columns);
    const int64_t blocks = (columns + block - 1) / block;
    const Op left = chunk.transposed ? Op::none : Op::transpose;
    const Op right = chunk.transposed ? Op::transpose : Op::none;
    const auto columns_from = [&](int64_t column) {
        return chunk.data + (chunk.transposed ? column : column * chunk.stride);
    };
    parallel_for(blocks * (blocks + 1) / 2, [&](int64_t task) {
        int64_t block_row = 0;
        while ((block_row + 1) * (block_row + 2) / 2 <= task) ++block_row;
        const int64_t row = block_row * block;
        const int64_t column = (task - block_row * (block_row + 1) / 2) * block;
        const int64_t height = std::min(block, columns - row);
        double* target = gram + row + column * columns;
        if (row == column)
            blas::syrk_lower(left, height, chunk.rows, 1.0, columns_from(row), chunk.stride, target, columns);
        else
            blas::gemm(left, right, height, block, chunk.rows, 1.0, columns_from(row), chunk.stride,
                       columns_from(column), chunk.stride, 1.0, target, columns);
    });
}

std::vector<double> Gram::eigenvalues() {
    std::vector<double> diagonal(static_cast<size_t>(columns));
    for (int64_t i = 0; i < columns; ++i) diagonal[static_cast<size_t>(i)] = triangle[i + i * columns];
    // The solver overwrites the lower triangle only: the copy that the second pass needs waits in the upper one.
    copy_triangle(columns, triangle.data(), true);
    const Tridiagonal tridiagonal = tridiagonalize_lower(columns, triangle.data());
    std::vector<double> values = tridiagonal.diagonal;
    std::vector<double> scratch = tridiagonal.off_diagonal;
    blas::tridiagonal_eigenvalues(columns, values.data(), scratch.data());
    polish_eigenvalues(tridiagonal, values);
    copy_triangle(columns, triangle.data(), false);
    for (int64_t j = 0; j < columns; ++j) {
        triangle[j + j * columns] = diagonal[static_cast<size_t>(j)];
        std::fill_n(triangle.data() + j * columns, j, 0.0);
    }
    return values;
}

}  // namespace lmscope
