#include "singular_values/qr.h"

#include <algorithm>
#include <cmath>

#include "runtime/blas.h"
#include "runtime/elements/elements.h"
#include "singular_values/gram.h"

namespace lmscope {

TriangularFactor::TriangularFactor(int64_t columns_) : columns(columns_), triangle(columns_ * columns_) {
    std::fill_n(triangle.data(), columns * columns, 0.0);
}

void TriangularFactor::rescale(int new_exponent) {
    const double factor = std::ldexp(1.0, std::max(-1074, exponent - new_exponent));
    for (int64_t i = 0; i < columns * columns; ++i) triangle[i] *= factor;
    exponent = new_exponent;
}

void TriangularFactor::add(const MatrixView& matrix) {
    if (elements::is_zero(matrix)) {
        rows += matrix.rows;
        return;
    }
    const int wanted = elements::scale_exponent(matrix);
    if (additions == 0)
        exponent = wanted;
    else if (wanted > exponent)
        rescale(wanted);
    // A taller chunk keeps the share of level-2 work in the append low, a shorter one the sums of like terms.
    const int64_t at_once = std::clamp<int64_t>(columns, 512, 2048);
    AlignedBuffer turned;
    for_each_chunk(matrix, at_once, exponent, [&](const elements::Chunk& chunk) {
        double* data = chunk.data;
        if (chunk.transposed) {
            if (!turned) turned = AlignedBuffer(at_once * columns);
            data = turned.data();
            constexpr int64_t block = 32;
            for (int64_t first = 0; first < columns; first += block)
                for (int64_t row = 0; row < chunk.rows; ++row)
                    for (int64_t column = first; column < std::min(columns, first + block); ++column)
                        data[row + column * chunk.rows] = chunk.data[column + row * chunk.stride];
        }
        blas::qr_append(columns, chunk.rows, triangle.data(), columns, data, chunk.rows);
        ++additions;
    });
    rows += matrix.rows;
}

void TriangularFactor::merge(const TriangularFactor& other) {
    rows += other.rows;
    if (other.additions == 0) return;
    if (additions == 0)
        exponent = other.exponent;
    else if (other.exponent > exponent)
        rescale(other.exponent);
    const double factor = std::ldexp(1.0, std::max(-1074, other.exponent - exponent));
    AlignedBuffer appended(columns * columns);
    for (int64_t i = 0; i < columns * columns; ++i) appended[i] = factor * other.triangle[i];
    blas::qr_append(columns, columns, triangle.data(), columns, appended.data(), columns);
    additions += other.additions + 1;
}

std::vector<double> TriangularFactor::singular_values() const {
    AlignedBuffer copy(columns * columns);
    std::copy_n(triangle.data(), columns * columns, copy.data());
    std::vector<double> values(static_cast<size_t>(columns));
    blas::singular_values(columns, columns, copy.data(), columns, values.data());
    return values;
}

}  // namespace lmscope
