#include "runtime/products.h"

#include <algorithm>

#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope {

using blas::Op;

namespace {

constexpr int64_t row_block = 128;

// The rounding errors of a sum of equal terms all have one sign: a third of a unit roundoff for each of them.
constexpr int64_t longest_sum = 128;

}  // namespace

void blocked_gemm(Op op, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a, int64_t stride_a,
                  const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c) {
    parallel_for((rows + row_block - 1) / row_block, [&](int64_t block) {
        const int64_t first = block * row_block;
        for (int64_t k = 0; k < depth; k += longest_sum)
            blas::gemm(op, Op::none, std::min(row_block, rows - first), columns, std::min(longest_sum, depth - k),
                       alpha, op == Op::none ? a + first + k * stride_a : a + first * stride_a + k, stride_a, b + k,
                       stride_b, k == 0 ? beta : 1.0, c + first, stride_c);
    });
}

void upper_products(int64_t rows, int64_t leading, int64_t columns, const double* x, double* products) {
    const int64_t block = columns <= 512 ? 64 : 256;
    const int64_t wide = (columns + block - 1) / block;
    const int64_t high = (leading + block - 1) / block;
    parallel_for(high * wide, [&](int64_t task) {
        const int64_t row = task / wide * block;
        const int64_t column = task % wide * block;
        if (column < row) return;
        blas::gemm(Op::transpose, Op::none, std::min(block, leading - row), std::min(block, columns - column), rows,
                   1.0, x + row * rows, rows, x + column * rows, rows, 0.0, products + row + column * columns, columns);
    });
}

void multiply_in_place(int64_t rows, int64_t order, double* x, Op op, const double* factor) {
    parallel_for((rows + row_block - 1) / row_block, [&](int64_t block) {
        const int64_t first = block * row_block;
        const int64_t height = std::min(row_block, rows - first);
        AlignedBuffer product(height * order);
        blas::gemm(Op::none, op, height, order, order, 1.0, x + first, rows, factor, order, 0.0, product.data(),
                   height);
        for (int64_t j = 0; j < order; ++j) std::copy_n(product.data() + j * height, height, x + first + j * rows);
    });
}

}  // namespace lmscope
