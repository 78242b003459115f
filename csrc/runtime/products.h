#pragma once

#include <cstdint>

#include "runtime/blas.h"

namespace lmscope {

// C <- alpha op(A) B + beta C in fixed blocks of C's rows, over our own threads: the same bits for any number of them.
void blocked_gemm(blas::Op op, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a,
                  int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c);

// The first `leading` rows of X^T X on and above the diagonal (column-major, order `columns`), X rows x columns; the
// rest is left alone.
void upper_products(int64_t rows, int64_t leading, int64_t columns, const double* x, double* products);

// X <- X op(F), X rows x order, F of order `order`, in fixed blocks of rows.
void multiply_in_place(int64_t rows, int64_t order, double* x, blas::Op op, const double* factor);

}  // namespace lmscope
