#pragma once

#include <cstdint>

// The float64 BLAS-3 and LAPACK routines in use, column-major, from scipy-openblas64, which runs single-threaded: its
// bits change with its thread count, its barriers stall when another process takes a core, and parallel blocks of ours
// keep the cores as busy.
namespace lmscope::blas {

enum class Op { none, transpose };

// C <- alpha op(A) op(B) + beta C; C is rows x columns, the products run over `depth`.
void gemm(Op op_a, Op op_b, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a,
          int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c);

// B <- op(L)^-1 B with the lower triangle L of order `order`.
void solve_lower(Op op, int64_t order, int64_t columns, const double* lower, int64_t stride_lower, double* b,
                 int64_t stride_b);

// B <- R B with R upper triangular, both of order `order` and without gaps.
void multiply_upper(int64_t order, const double* upper, double* b);

// Lower Cholesky factor in place; false where the matrix is not positive definite.
bool cholesky_lower(int64_t order, double* a, int64_t stride_a);

// Lower Cholesky factor in place of a symmetric band matrix (lower band storage, band + 1 rows); false where it is not
// positive definite.
bool band_cholesky_lower(int64_t order, int64_t band, double* banded);

// X <- (L L^T)^-1 X for such a factor L.
void solve_band(int64_t order, int64_t band, const double* banded, int64_t columns, double* x);

// A = Q R in place, rows x columns: R above, the reflectors V below the diagonal, and T, upper triangular of order
// `count` = min(rows, columns), with Q = I - V T V^T.
void qr_compact(int64_t rows, int64_t columns, int64_t count, double* a, int64_t stride_a, double* t, int64_t stride_t);

// Tridiagonal form of a symmetric matrix given by its lower triangle, which is destroyed.
void dense_to_tridiagonal(int64_t order, double* a, int64_t stride_a, double* diagonal, double* off_diagonal);

// Q of the QR factorisation in place; rows >= columns.
void orthonormalize(int64_t rows, int64_t columns, double* a, int64_t stride_a);

// A = Q R with Q in place and R of order `columns`, zero below the diagonal; rows >= columns.
void qr(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* r);

// R <- the triangular factor of [R; B], R upper triangular of order `order`, B rows x order and destroyed.
void qr_append(int64_t order, int64_t rows, double* r, int64_t stride_r, double* b, int64_t stride_b);

// Descending singular values of A (destroyed).
void singular_values(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* values);

// A = U diag(values) V^T with A square of order `order` (destroyed); V^T is written where `right_transposed` points.
void svd_right(int64_t order, double* a, int64_t stride_a, double* values, double* right_transposed);

// A = U diag(values) V^T with rows >= columns (A destroyed): U rows x columns, V^T columns x columns, both without
// gaps.
void svd(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* values, double* left,
         double* right_transposed);

// Ascending eigenvalues of a symmetric matrix given by its lower triangle, and eigenvectors in its place.
void symmetric_eigenvectors(int64_t order, double* a, int64_t stride_a, double* values);

}  // namespace lmscope::blas
