#pragma once

#include <cstdint>

// The float64 BLAS-3 and LAPACK routines in use, column-major, from scipy-openblas64. Every call runs inside one of the
// two guards: OpenBLAS gives different bits for different thread counts, so parallel sections of ours (BlasSerial) and
// the single large factorisations that may use its threads (BlasThreaded) never overlap in one process.
namespace lmscope::blas {

class BlasSerial {
public:
    BlasSerial();
    ~BlasSerial();
    BlasSerial(const BlasSerial&) = delete;
    BlasSerial& operator=(const BlasSerial&) = delete;
};

class BlasThreaded {
public:
    BlasThreaded();
    ~BlasThreaded();
    BlasThreaded(const BlasThreaded&) = delete;
    BlasThreaded& operator=(const BlasThreaded&) = delete;
};

enum class Op { none, transpose };

// C <- alpha op(A) op(B) + beta C; C is rows x columns, the products run over `depth`.
void gemm(Op op_a, Op op_b, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a,
          int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c);

// Lower triangle of C <- op(A) op(A)^T + C, C of order `order`.
void syrk_lower(Op op_a, int64_t order, int64_t depth, const double* a, int64_t stride_a, double* c, int64_t stride_c);

// B <- op(L)^-1 B with the lower triangle L of order `order`.
void solve_lower(Op op, int64_t order, int64_t columns, const double* lower, int64_t stride_lower, double* b,
                 int64_t stride_b);

// Lower Cholesky factor in place; false where the matrix is not positive definite.
bool cholesky_lower(int64_t order, double* a, int64_t stride_a);

// Ascending eigenvalues of the lower triangle by the two-stage reduction; the strict upper triangle is left alone.
void eigenvalues_lower(int64_t order, double* a, int64_t stride_a, double* eigenvalues);

// Q of the QR factorisation in place; rows >= columns.
void orthonormalize(int64_t rows, int64_t columns, double* a, int64_t stride_a);

// R <- the triangular factor of [R; B], R upper triangular of order `order`, B rows x order and destroyed.
void qr_append(int64_t order, int64_t rows, double* r, int64_t stride_r, double* b, int64_t stride_b);

// Descending singular values of A (destroyed).
void singular_values(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* values);

// A = U diag(values) V^T with A square of order `order` (destroyed); V^T is written where `right_transposed` points.
void svd_right(int64_t order, double* a, int64_t stride_a, double* values, double* right_transposed);

}  // namespace lmscope::blas
