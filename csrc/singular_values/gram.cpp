#include "singular_values/gram.h"

#include <algorithm>

#include "eigenvalues/solver.h"
#include "runtime/integer_gram/integer_gram.h"

namespace lmscope {
Gram::Gram(int64_t columns_) : ScaledTriangle(columns_, 2) {}

void Gram::add(const MatrixView& matrix) {
    if (!admit(matrix)) return;
    if (exponent == 0 && integer_gram::pays(matrix)) {
        additions += integer_gram::add(matrix, triangle.data());
        return;
    }
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
    std::vector<double> values = eigenvalues::values_of_symmetric(columns, triangle.data());
    copy_triangle(columns, triangle.data(), false);
    for (int64_t j = 0; j < columns; ++j) {
        triangle[j + j * columns] = diagonal[static_cast<size_t>(j)];
        std::fill_n(triangle.data() + j * columns, j, 0.0);
    }
    return values;
}

}  // namespace lmscope
