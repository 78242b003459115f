#include "eigenvalues/dense/dense_to_tridiagonal.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"
#include "runtime/random_fill.h"

namespace lmscope::eigenvalues {
namespace {

AlignedBuffer whole(int64_t order, const double* lower, int64_t stride) {
    AlignedBuffer matrix(order * order);
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = j; i < order; ++i) matrix[i + j * order] = matrix[j + i * order] = lower[i + j * stride];
    return matrix;
}

// What Tiles::reflect does, and why, in the lower triangle of a matrix stored whole.
void reflect(int64_t order, double* matrix) {
    AlignedBuffer v(order), w(order);
    fill_random(order, v.data());
    const double norm = std::sqrt(std::inner_product(v.data(), v.data() + order, v.data(), 0.0));
    for (int64_t i = 0; i < order; ++i) v[i] /= norm;
    std::fill_n(w.data(), order, 0.0);
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = 0; i < order; ++i) w[i] += matrix[i + j * order] * v[j];
    const double quotient = std::inner_product(w.data(), w.data() + order, v.data(), 0.0);
    for (int64_t i = 0; i < order; ++i) w[i] = 2 * (w[i] - quotient * v[i]);
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = j; i < order; ++i) matrix[i + j * order] -= v[i] * w[j] + w[i] * v[j];
}

}  // namespace

Tridiagonal dense_to_tridiagonal(int64_t order, const double* lower, int64_t stride, double shift) {
    AlignedBuffer matrix = whole(order, lower, stride);
    for (int64_t i = 0; i < order; ++i) matrix[i + i * order] -= shift;
    reflect(order, matrix.data());
    Tridiagonal result{std::vector<double>(static_cast<size_t>(order)),
                       std::vector<double>(static_cast<size_t>(order - 1))};
    blas::dense_to_tridiagonal(order, matrix.data(), order, result.diagonal.data(), result.off_diagonal.data());
    return result;
}

}  // namespace lmscope::eigenvalues
