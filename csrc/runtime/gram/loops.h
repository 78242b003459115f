// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code.
#include <cstdint>

#include "runtime/gram/kernels.h"
#include "runtime/packed_loops.h"

namespace lmscope::gram {
namespace {

void add_block(const double* x, const double* y, int64_t depth, double* target, int64_t stride) {
    fetch_block(target, stride);
    Sums sums = {};
    lmscope::add_products(x, y, depth, sums);
    for (int c = 0; c < lanes; ++c)
        for (int r = 0; r < 3; ++r) {
            double* place = target + c * stride + r * lanes;
            store(load(place) + sums[c][r], place);
        }
}

void add_products(const double* x, const double* y, int64_t panel_stride, int64_t depth, int64_t rows, int64_t columns,
                  bool on_diagonal, double* sums, int64_t stride) {
    for (int64_t row = 0; row < rows; row += panel_rows)
        for (int64_t column = 0; column < (on_diagonal ? row + panel_rows : columns); column += lanes)
            add_block(x + row / panel_rows * panel_stride, y + column / panel_rows * panel_stride + column % panel_rows,
                      depth, sums + row + column * stride, stride);
}

}  // namespace
}  // namespace lmscope::gram
