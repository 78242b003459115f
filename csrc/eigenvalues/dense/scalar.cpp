#include "eigenvalues/dense/tile.h"
#include "runtime/blas.h"

namespace lmscope::eigenvalues {
namespace {

using blas::Op;

void multiply(const double* tile, const double*, bool transposed, Range rows, Range depth, const double* v,
              int64_t width, double* w) {
    const double* block =
        tile + (transposed ? depth.begin + rows.begin * tile_order : rows.begin + depth.begin * tile_order);
    blas::gemm(Op::none, transposed ? Op::none : Op::transpose, width, rows.end - rows.begin, depth.end - depth.begin,
               1.0, v + depth.begin * width, width, block, tile_order, 1.0, w + rows.begin * width, width);
}

// One packed panel is as high as the tile.
void update(double* tile, Range rows, Range columns, const double* v_left, const double* w_left, const double* v_right,
            const double* w_right, int64_t width) {
    const auto subtract = [&](const double* left, const double* right) {
        blas::gemm(Op::none, Op::transpose, rows.end - rows.begin, columns.end - columns.begin, width, -1.0,
                   left + rows.begin, tile_order, right + columns.begin, tile_order, 1.0,
                   tile + rows.begin + columns.begin * tile_order, tile_order);
    };
    subtract(v_left, w_right);
    subtract(w_left, v_right);
}

}  // namespace

const TileKernels tile_kernels_scalar = {tile_order, multiply, update};

}  // namespace lmscope::eigenvalues
