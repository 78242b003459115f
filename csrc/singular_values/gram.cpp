#include "singular_values/gram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/blas.h"
#include "runtime/thread_pool.h"
#include "singular_values/band_reduction.h"
#include "singular_values/random_fill.h"
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

// H A H in the lower triangle of a matrix stored whole, for a fixed random reflection H = I - 2 v v^T: same
// eigenvalues, but no equal entries left. Those make the rounding errors of a reduction all have one sign and add up.
void reflect_lower(int64_t order, double* matrix) {
    constexpr int64_t columns_per_task = 32;
    const int64_t tasks = (order + columns_per_task - 1) / columns_per_task;
    const auto for_each_column = [&](auto&& visit) {
        parallel_for(tasks, [&](int64_t task) {
            for (int64_t j = task * columns_per_task; j < std::min(order, (task + 1) * columns_per_task); ++j) visit(j);
        });
    };
    AlignedBuffer v(order), w(order);
    fill_random(order, v.data());
    const double norm = std::sqrt(std::inner_product(v.data(), v.data() + order, v.data(), 0.0));
    for (int64_t i = 0; i < order; ++i) v[i] /= norm;
    for_each_column([&](int64_t j) {
        const double* column = matrix + j * order;
        w[j] = std::inner_product(column, column + order, v.data(), 0.0);
    });
    const double quotient = std::inner_product(w.data(), w.data() + order, v.data(), 0.0);
    for (int64_t i = 0; i < order; ++i) w[i] = 2 * (w[i] - quotient * v[i]);
    for_each_column([&](int64_t j) {
        for (int64_t i = j; i < order; ++i) matrix[i + j * order] -= v[i] * w[j] + w[i] * v[j];
    });
}

}  // namespace

Gram::Gram(int64_t columns_) : ScaledTriangle(columns_, 2) {}

void Gram::add(const MatrixView& matrix) {
    if (!admit(matrix)) return;
    for_each_chunk(matrix, elements::chunk_rows(columns), exponent, [&](const elements::Chunk& chunk) {
        add_chunk(chunk, columns, triangle.data());
        ++additions;
    });
}

void Gram::merge(const Gram& other) {
    const double factor = admit(other);
    if (factor == 0) return;
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] += factor * other.triangle[i];
    additions += other.additions + 1;
}

void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram) {
    const int64_t block = block_order(columns);
    const int64_t blocks = (columns + block - 1) / block;
    const Op left = chunk.transposed ? Op::none : Op::transpose;
    const Op right = chunk.transposed ? Op::transpose : Op::none;
    // Products accumulate in runs of this depth at most: the drift of equal terms is a third of it.
    constexpr int64_t depth = 256;
    const auto part = [&](int64_t first_row, int64_t column) {
        return chunk.data + (chunk.transposed ? column + first_row * chunk.stride : first_row + column * chunk.stride);
    };
    parallel_for(blocks * (blocks + 1) / 2, [&](int64_t task) {
        // The chunk's own sum first: the library adds to its target every few hundred rows, and where all rows are
        // alike the rounding errors of so many additions to one growing sum all have one sign.
        thread_local AlignedBuffer sum;
        thread_local int64_t capacity = 0;
        if (capacity < block * block) {
            sum = AlignedBuffer(block * block);
            capacity = block * block;
        }
        int64_t block_row = 0;
        while ((block_row + 1) * (block_row + 2) / 2 <= task) ++block_row;
        const int64_t row = block_row * block;
        const int64_t column = (task - block_row * (block_row + 1) / 2) * block;
        const int64_t height = std::min(block, columns - row);
        double* target = gram + row + column * columns;
        const int64_t width = row == column ? height : block;
        std::fill_n(sum.data(), height * width, 0.0);
        for (int64_t first = 0; first < chunk.rows; first += depth) {
            const int64_t rows = std::min(depth, chunk.rows - first);
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

std::vector<double> Gram::eigenvalues() {
    std::vector<double> diagonal(static_cast<size_t>(columns));
    for (int64_t i = 0; i < columns; ++i) diagonal[static_cast<size_t>(i)] = triangle[i + i * columns];
    // The solver overwrites the lower triangle only: the copy that the second pass needs waits in the upper one.
    copy_triangle(columns, triangle.data(), true);
    reflect_lower(columns, triangle.data());
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
