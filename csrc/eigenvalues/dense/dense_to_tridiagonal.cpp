#include "eigenvalues/dense/dense_to_tridiagonal.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "eigenvalues/dense/reflection.h"
#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"

namespace lmscope::eigenvalues {
namespace {

// What Tiles::reflect does, in the lower triangle of a matrix stored whole.
void reflect(int64_t order, double* matrix) {
    const AlignedBuffer v = reflection_vector(order);
    AlignedBuffer w(order);
    std::fill_n(w.data(), order, 0.0);
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = 0; i < order; ++i) w[i] += matrix[i + j * order] * v[j];
    const double quotient = std::inner_product(w.data(), w.data() + order, v.data(), 0.0);
    for (int64_t i = 0; i < order; ++i) w[i] = 2 * (w[i] - quotient * v[i]);
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = j; i < order; ++i) matrix[i + j * order] -= v[i] * w[j] + w[i] * v[j];
}

}  // namespace

Tridiagonal dense_to_tridiagonal(int64_t order, double* matrix) {
    reflect(order, matrix);
    Tridiagonal result{std::vector<double>(static_cast<size_t>(order)),
                       std::vector<double>(static_cast<size_t>(order - 1))};
    blas::dense_to_tridiagonal(order, matrix, order, result.diagonal.data(), result.off_diagonal.data());
    return result;
}

}  // namespace lmscope::eigenvalues
