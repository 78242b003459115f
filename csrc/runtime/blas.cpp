#include "runtime/blas.h"

#include <algorithm>
#include <string>
#include <vector>

#include "lmscope/error.h"
#include "runtime/aligned_buffer.h"

// Our own prototypes: the wheel's lapack.h defaults to 32-bit integers and lacks the symbol prefix.
extern "C" {
void scipy_openblas_set_num_threads64_(int threads);
void scipy_cblas_dgemm64_(int order, int op_a, int op_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
                          int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc);
void scipy_cblas_dtrsm64_(int order, int side, int uplo, int op, int diag, int64_t m, int64_t n, double alpha,
                          const double* a, int64_t lda, double* b, int64_t ldb);
void scipy_cblas_dtrmm64_(int order, int side, int uplo, int op, int diag, int64_t m, int64_t n, double alpha,
                          const double* a, int64_t lda, double* b, int64_t ldb);
int64_t scipy_LAPACKE_dpotrf64_(int layout, char uplo, int64_t n, double* a, int64_t lda);
int64_t scipy_LAPACKE_dpbtrf64_(int layout, char uplo, int64_t n, int64_t kd, double* ab, int64_t ldab);
int64_t scipy_LAPACKE_dpbtrs64_(int layout, char uplo, int64_t n, int64_t kd, int64_t nrhs, const double* ab,
                                int64_t ldab, double* b, int64_t ldb);
int64_t scipy_LAPACKE_dgeqrt64_(int layout, int64_t m, int64_t n, int64_t nb, double* a, int64_t lda, double* t,
                                int64_t ldt);
void scipy_dsytrd_64_(const char* uplo, const int64_t* n, double* a, const int64_t* lda, double* d, double* e,
                      double* tau, double* work, const int64_t* lwork, int64_t* info, size_t uplo_length);
int64_t scipy_LAPACKE_dsyevd64_(int layout, char jobz, char uplo, int64_t n, double* a, int64_t lda, double* w);
int64_t scipy_LAPACKE_dgeqrf64_(int layout, int64_t m, int64_t n, double* a, int64_t lda, double* tau);
int64_t scipy_LAPACKE_dorgqr64_(int layout, int64_t m, int64_t n, int64_t k, double* a, int64_t lda, const double* tau);
int64_t scipy_LAPACKE_dtpqrt64_(int layout, int64_t m, int64_t n, int64_t l, int64_t nb, double* a, int64_t lda,
                                double* b, int64_t ldb, double* t, int64_t ldt);
int64_t scipy_LAPACKE_dgesdd64_(int layout, char jobz, int64_t m, int64_t n, double* a, int64_t lda, double* s,
                                double* u, int64_t ldu, double* vt, int64_t ldvt);
int64_t scipy_LAPACKE_dgesvd64_(int layout, char jobu, char jobvt, int64_t m, int64_t n, double* a, int64_t lda,
                                double* s, double* u, int64_t ldu, double* vt, int64_t ldvt, double* superb);
}

namespace lmscope::blas {
namespace {

constexpr int column_major = 102;
constexpr int no_transpose = 111;
constexpr int transposed = 112;
constexpr int upper_triangle = 121;
constexpr int lower_triangle = 122;
constexpr int non_unit = 131;
constexpr int left_side = 141;

int code(Op op) { return op == Op::none ? no_transpose : transposed; }

void check(int64_t info, const char* routine) {
    if (info != 0) throw NumericalError(std::string(routine) + " failed with info " + std::to_string(info));
}

// Before the first call from anywhere: this library has its own copy of OpenBLAS, apart from numpy's.
const bool single_threaded = (scipy_openblas_set_num_threads64_(1), true);

}  // namespace

void gemm(Op op_a, Op op_b, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a,
          int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c) {
    scipy_cblas_dgemm64_(column_major, code(op_a), code(op_b), rows, columns, depth, alpha, a, stride_a, b, stride_b,
                         beta, c, stride_c);
}

void solve_lower(Op op, int64_t order, int64_t columns, const double* lower, int64_t stride_lower, double* b,
                 int64_t stride_b) {
    scipy_cblas_dtrsm64_(column_major, left_side, lower_triangle, code(op), non_unit, order, columns, 1.0, lower,
                         stride_lower, b, stride_b);
}

void multiply_upper(int64_t order, const double* upper, double* b) {
    scipy_cblas_dtrmm64_(column_major, left_side, upper_triangle, no_transpose, non_unit, order, order, 1.0, upper,
                         order, b, order);
}

bool cholesky_lower(int64_t order, double* a, int64_t stride_a) {
    const int64_t info = scipy_LAPACKE_dpotrf64_(column_major, 'L', order, a, stride_a);
    if (info > 0) return false;
    check(info, "dpotrf");
    return true;
}

bool band_cholesky_lower(int64_t order, int64_t band, double* banded) {
    const int64_t info = scipy_LAPACKE_dpbtrf64_(column_major, 'L', order, band, banded, band + 1);
    if (info > 0) return false;
    check(info, "dpbtrf");
    return true;
}

void solve_band(int64_t order, int64_t band, const double* banded, int64_t columns, double* x) {
    check(scipy_LAPACKE_dpbtrs64_(column_major, 'L', order, band, columns, banded, band + 1, x, order), "dpbtrs");
}

void qr_compact(int64_t rows, int64_t columns, int64_t count, double* a, int64_t stride_a, double* t,
                int64_t stride_t) {
    check(scipy_LAPACKE_dgeqrt64_(column_major, rows, columns, count, a, stride_a, t, stride_t), "dgeqrt");
}

void dense_to_tridiagonal(int64_t order, double* a, int64_t stride_a, double* diagonal, double* off_diagonal) {
    int64_t info = 0;
    const auto call = [&](double* scales, double* work, int64_t work_length) {
        scipy_dsytrd_64_("L", &order, a, &stride_a, diagonal, off_diagonal, scales, work, &work_length, &info, 1);
        check(info, "dsytrd");
    };
    double work_size = 0;
    call(nullptr, &work_size, -1);
    // On cache lines of their own, which LAPACKE's buffers are not: sums may follow the alignment.
    const auto work_length = static_cast<int64_t>(work_size);
    AlignedBuffer scales(order), work(work_length);
    call(scales.data(), work.data(), work_length);
}

void orthonormalize(int64_t rows, int64_t columns, double* a, int64_t stride_a) {
    qr(rows, columns, a, stride_a, nullptr);
}

void qr(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* r) {
    std::vector<double> tau(static_cast<size_t>(columns));
    check(scipy_LAPACKE_dgeqrf64_(column_major, rows, columns, a, stride_a, tau.data()), "dgeqrf");
    for (int64_t j = 0; r != nullptr && j < columns; ++j) {
        std::copy_n(a + j * stride_a, j + 1, r + j * columns);
        std::fill_n(r + j * columns + j + 1, columns - j - 1, 0.0);
    }
    check(scipy_LAPACKE_dorgqr64_(column_major, rows, columns, columns, a, stride_a, tau.data()), "dorgqr");
}

void qr_append(int64_t order, int64_t rows, double* r, int64_t stride_r, double* b, int64_t stride_b) {
    const int64_t block = std::min<int64_t>(order, 64);
    std::vector<double> t(static_cast<size_t>(block * order));
    check(scipy_LAPACKE_dtpqrt64_(column_major, rows, order, 0, block, r, stride_r, b, stride_b, t.data(), block),
          "dtpqrt");
}

void singular_values(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* values) {
    double unused = 0;
    check(scipy_LAPACKE_dgesdd64_(column_major, 'N', rows, columns, a, stride_a, values, &unused, 1, &unused, 1),
          "dgesdd");
}

void svd_right(int64_t order, double* a, int64_t stride_a, double* values, double* right_transposed) {
    double unused = 0;
    std::vector<double> superdiagonal(static_cast<size_t>(std::max<int64_t>(1, order)));
    check(scipy_LAPACKE_dgesvd64_(column_major, 'N', 'A', order, order, a, stride_a, values, &unused, 1,
                                  right_transposed, order, superdiagonal.data()),
          "dgesvd");
}

void svd(int64_t rows, int64_t columns, double* a, int64_t stride_a, double* values, double* left,
         double* right_transposed) {
    check(scipy_LAPACKE_dgesdd64_(column_major, 'S', rows, columns, a, stride_a, values, left, rows, right_transposed,
                                  columns),
          "dgesdd");
}

void symmetric_eigenvectors(int64_t order, double* a, int64_t stride_a, double* values) {
    check(scipy_LAPACKE_dsyevd64_(column_major, 'V', 'L', order, a, stride_a, values), "dsyevd");
}

}  // namespace lmscope::blas
