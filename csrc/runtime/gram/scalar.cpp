#include "runtime/blas.h"
#include "runtime/gram/kernels.h"

namespace lmscope::gram {
namespace {

using blas::Op;

constexpr int64_t panel_rows = 96;

void add_products(const double* x, const double* y, int64_t panel_stride, int64_t depth, int64_t rows, int64_t columns,
                  bool on_diagonal, double* sums, int64_t stride) {
    for (int64_t row = 0; row < rows; row += panel_rows)
        for (int64_t column = 0; column < (on_diagonal ? row + panel_rows : columns); column += panel_rows)
            blas::gemm(Op::none, Op::transpose, panel_rows, panel_rows, depth, 1.0, x + row / panel_rows * panel_stride,
                       panel_rows, y + column / panel_rows * panel_stride, panel_rows, 1.0,
                       sums + row + column * stride, stride);
}

}  // namespace

const Kernels kernels_scalar = {panel_rows, add_products};

}  // namespace lmscope::gram
