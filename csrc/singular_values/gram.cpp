#include "singular_values/gram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/blas.h"
#include "runtime/thread_pool.h"
#include "singular_values/band_reduction.h"
#include "singular_values/random_fill.h"
#include "singular_values/tridiagonal.h"

namespace lmscope {
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

Gram::Gram(int64_t columns_) : ScaledTriangle(columns_, 2) {}

void Gram::add(const MatrixView& matrix) {
    if (!admit(matrix)) return;
    for_each_chunk(matrix, elements::chunk_rows(columns), exponent, [&](const elements::Chunk& chunk) {
        add_chunk(chunk, columns, triangle.data());
        ++additions;
    });
}

void Gram::merge(const Gram& other) {
    const double factor = admit(other);
    if (factor == 0) return;
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] += factor * other.triangle[i];
    additions += other.additions + 1;
}

std::vector<double> Gram::eigenvalues() {
    std::vector<double> diagonal(static_cast<size_t>(columns));
    for (int64_t i = 0; i < columns; ++i) diagonal[static_cast<size_t>(i)] = triangle[i + i * columns];
    // The solver overwrites the lower triangle only: the copy that the second pass needs waits in the upper one.
    copy_triangle(columns, triangle.data(), true);
    reflect_lower(columns, triangle.data());
    const Tridiagonal tridiagonal = tridiagonalize_lower(columns, triangle.data());
    std::vector<double> values = tridiagonal.diagonal;
    std::vector<double> scratch = tridiagonal.off_diagonal;
    blas::tridiagonal_eigenvalues(columns, values.data(), scratch.data());
    polish_eigenvalues(tridiagonal, values);
    copy_triangle(columns, triangle.data(), false);
    for (int64_t j = 0; j < columns; ++j) {
        triangle[j + j * columns] = diagonal[static_cast<size_t>(j)];
        std::fill_n(triangle.data() + j * columns, j, 0.0);
    }
    return values;
}

}  // namespace lmscope
