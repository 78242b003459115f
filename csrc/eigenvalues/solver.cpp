#include "eigenvalues/solver.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eigenvalues/band/band_to_tridiagonal.h"
#include "eigenvalues/dense/dense_to_band.h"
#include "runtime/aligned_buffer.h"
#include "runtime/random_fill.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

// H A H in the lower triangle of a matrix stored whole, for a fixed random reflection H = I - 2 v v^T: same
// eigenvalues, but no equal entries left. Those make the rounding errors of a reduction all have one sign and add up.
void reflect_lower(int64_t order, double* matrix) {
    constexpr int64_t columns_per_task = 32;
    const int64_t tasks = (order + columns_per_task - 1) / columns_per_task;
    const auto for_each_column = [&](auto&& visit) {
        parallel_for(tasks, [&](int64_t task) {
            for (int64_t j = task * columns_per_task; j < std::min(order, (task + 1) * columns_per_task); ++j) visit(j);
        });
    };
    AlignedBuffer v(order), w(order);
    fill_random(order, v.data());
    const double norm = std::sqrt(std::inner_product(v.data(), v.data() + order, v.data(), 0.0));
    for (int64_t i = 0; i < order; ++i) v[i] /= norm;
    for_each_column([&](int64_t j) {
        const double* column = matrix + j * order;
        w[j] = std::inner_product(column, column + order, v.data(), 0.0);
    });
    const double quotient = std::inner_product(w.data(), w.data() + order, v.data(), 0.0);
    for (int64_t i = 0; i < order; ++i) w[i] = 2 * (w[i] - quotient * v[i]);
    for_each_column([&](int64_t j) {
        for (int64_t i = j; i < order; ++i) matrix[i + j * order] -= v[i] * w[j] + w[i] * v[j];
    });
}

}  // namespace

std::vector<double> values_of_symmetric(int64_t order, double* matrix) {
    reflect_lower(order, matrix);
    Band band = dense_to_band(order, matrix);
    return values_of(band_to_tridiagonal(band));
}

}  // namespace lmscope::eigenvalues
