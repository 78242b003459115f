#include "singular_values/scaled_triangle.h"

#include <algorithm>
#include <cmath>

#include "runtime/elements/elements.h"

namespace lmscope {

ScaledTriangle::ScaledTriangle(int64_t columns_, int degree)
    : columns(columns_), triangle(columns_ * columns_), degree_(degree) {
    std::fill_n(triangle.data(), columns * columns, 0.0);
}

bool ScaledTriangle::admit(const MatrixView& matrix) {
    rows += matrix.rows;
    if (elements::is_zero(matrix)) return false;
    settle(elements::scale_exponent(matrix));
    return true;
}

double ScaledTriangle::admit(const ScaledTriangle& other) {
    rows += other.rows;
    if (other.additions == 0) return 0.0;
    settle(other.exponent);
    return shift(other.exponent - exponent);
}

void ScaledTriangle::settle(int wanted) {
    if (additions == 0) exponent = wanted;
    if (wanted <= exponent) return;
    const double factor = shift(exponent - wanted);
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] *= factor;
    exponent = wanted;
}

double ScaledTriangle::shift(int power) const { return std::ldexp(1.0, std::max(-1074, degree_ * power)); }

}  // namespace lmscope
