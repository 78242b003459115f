#include "runtime/blas.h"

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "lmscope/context.h"
#include "lmscope/error.h"

// Our own prototypes: the wheel's lapack.h defaults to 32-bit integers and lacks the symbol prefix.
extern "C" {
void scipy_openblas_set_num_threads64_(int threads);
void scipy_cblas_dgemm64_(int order, int op_a, int op_b, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
                          int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc);
void scipy_cblas_dsyrk64_(int order, int uplo, int op, int64_t n, int64_t k, double alpha, const double* a, int64_t lda,
                          double beta, double* c, int64_t ldc);
void scipy_cblas_dtrsm64_(int order, int side, int uplo, int op, int diag, int64_t m, int64_t n, double alpha,
                          const double* a, int64_t lda, double* b, int64_t ldb);
int64_t scipy_LAPACKE_dpotrf64_(int layout, char uplo, int64_t n, double* a, int64_t lda);
int64_t scipy_LAPACKE_dsyevd_2stage64_(int layout, char jobz, char uplo, int64_t n, double* a, int64_t lda, double* w);
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
constexpr int lower_triangle = 122;
constexpr int non_unit = 131;
constexpr int left_side = 141;

int code(Op op) { return op == Op::none ? no_transpose : transposed; }

void check(int64_t info, const char* routine) {
    if (info != 0) throw NumericalError(std::string(routine) + " failed with info " + std::to_string(info));
}

std::shared_mutex& threading() {
    static std::shared_mutex mutex;
    static const bool once = (scipy_openblas_set_num_threads64_(1), true);
    static_cast<void>(once);
    return mutex;
}

}  // namespace

BlasSerial::BlasSerial() { threading().lock_shared(); }
BlasSerial::~BlasSerial() { threading().unlock_shared(); }

BlasThreaded::BlasThreaded() {
    threading().lock();
    scipy_openblas_set_num_threads64_(num_threads());
}
BlasThreaded::~BlasThreaded() {
    scipy_openblas_set_num_threads64_(1);
    threading().unlock();
}

void gemm(Op op_a, Op op_b, int64_t rows, int64_t columns, int64_t depth, double alpha, const double* a,
          int64_t stride_a, const double* b, int64_t stride_b, double beta, double* c, int64_t stride_c) {
    scipy_cblas_dgemm64_(column_major, code(op_a), code(op_b), rows, columns, depth, alpha, a, stride_a, b, stride_b,
                         beta, c, stride_c);
}

void syrk_lower(Op op_a, int64_t order, int64_t depth, const double* a, int64_t stride_a, double* c, int64_t stride_c) {
    scipy_cblas_dsyrk64_(column_major, lower_triangle, code(op_a), order, depth, 1.0, a, stride_a, 1.0, c, stride_c);
}

void solve_lower(Op op, int64_t order, int64_t columns, const double* lower, int64_t stride_lower, double* b,
                 int64_t stride_b) {
    scipy_cblas_dtrsm64_(column_major, left_side, lower_triangle, code(op), non_unit, order, columns, 1.0, lower,
                         stride_lower, b, stride_b);
}

bool cholesky_lower(int64_t order, double* a, int64_t stride_a) {
    const int64_t info = scipy_LAPACKE_dpotrf64_(column_major, 'L', order, a, stride_a);
    if (info > 0) return false;
    check(info, "dpotrf");
    return true;
}

void eigenvalues_lower(int64_t order, double* a, int64_t stride_a, double* eigenvalues) {
    check(scipy_LAPACKE_dsyevd_2stage64_(column_major, 'N', 'L', order, a, stride_a, eigenvalues), "dsyevd_2stage");
}

void orthonormalize(int64_t rows, int64_t columns, double* a, int64_t stride_a) {
    std::vector<double> tau(static_cast<size_t>(columns));
    check(scipy_LAPACKE_dgeqrf64_(column_major, rows, columns, a, stride_a, tau.data()), "dgeqrf");
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

}  // namespace lmscope::blas
