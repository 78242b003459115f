#include "singular_values/cholesky.h"

#include <algorithm>

#include "runtime/blas.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

using blas::Op;

int64_t block_count(int64_t order, int64_t block) { return (order + block - 1) / block; }

}  // namespace

bool blocked_cholesky_lower(int64_t order, double* matrix) {
    constexpr int64_t block = 256;
    for (int64_t first = 0; first < order; first += block) {
        const int64_t width = std::min(block, order - first);
        double* corner = matrix + first + first * order;
        if (!blas::cholesky_lower(width, corner, order)) return false;
        const int64_t below = order - first - width;
        const int64_t blocks = block_count(below, block);
        double* panel = corner + width;
        parallel_for(blocks, [&](int64_t row) {
            blas::solve_right_transposed(std::min(block, below - row * block), width, corner, order,
                                         panel + row * block, order);
        });
        parallel_for(lower_blocks(blocks), [&](int64_t task) {
            const auto [row, column] = lower_block(task);
            const int64_t height = std::min(block, below - row * block);
            double* target = corner + width * (order + 1) + row * block + column * block * order;
            if (row == column)
                blas::syrk_lower(Op::none, height, width, -1.0, panel + row * block, order, target, order);
            else
                blas::gemm(Op::none, Op::transpose, height, block, width, -1.0, panel + row * block, order,
                           panel + column * block, order, 1.0, target, order);
        });
    }
    return true;
}

}  // namespace lmscope
