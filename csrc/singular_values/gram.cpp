#include "singular_values/gram.h"

#include <optional>

#include "eigenvalues/solver.h"
#include "runtime/integer_gram/integer_gram.h"

namespace lmscope {

Gram::Gram(int64_t columns_) : ScaledTriangle(columns_, 2) {}

void Gram::add(const MatrixView& matrix) {
    if (!admit(matrix)) return;
    std::optional<int64_t> sums;
    if (exponent == 0) sums = integer_gram::add_if_it_pays(matrix, triangle.data());
    additions += sums ? *sums : add_gram(matrix, elements::chunk_rows(columns), exponent, triangle.data());
}

void Gram::merge(const Gram& other) {
    const double factor = admit(other);
    if (factor == 0) return;
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] += factor * other.triangle[i];
    additions += other.additions + 1;
}

MatrixView Gram::view() const { return {triangle.data(), DType::float64, columns, columns, 1, columns}; }

std::vector<double> Gram::eigenvalues() const { return eigenvalues::values_of_symmetric(view()); }

}  // namespace lmscope
