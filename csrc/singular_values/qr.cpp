#include "singular_values/qr.h"

#include <algorithm>
#include <cmath>

#include "runtime/blas.h"
#include "runtime/elements/elements.h"
#include "singular_values/gram.h"

namespace lmscope {

void copy_rows(const elements::Chunk& chunk, int64_t columns, double* target, int64_t stride) {
    if (!chunk.transposed) {
        for (int64_t column = 0; column < columns; ++column)
            std::copy_n(chunk.data + column * chunk.stride, chunk.rows, target + column * stride);
        return;
    }
    constexpr int64_t block = 32;
    for (int64_t first = 0; first < columns; first += block)
        for (int64_t row = 0; row < chunk.rows; ++row)
            for (int64_t column = first; column < std::min(columns, first + block); ++column)
                target[row + column * stride] = chunk.data[column + row * chunk.stride];
}

TriangularFactor::TriangularFactor(int64_t columns_) : ScaledTriangle(columns_, 1) {}

void TriangularFactor::add(const MatrixView& matrix) {
    if (!admit(matrix)) return;
    // A taller chunk keeps the share of level-2 work in the append low, a shorter one the sums of like terms.
    const int64_t at_once = std::clamp<int64_t>(columns, 512, 2048);
    AlignedBuffer turned;
    for_each_chunk(matrix, at_once, exponent, [&](const elements::Chunk& chunk) {
        double* data = chunk.data;
        if (chunk.transposed) {
            if (!turned) turned = AlignedBuffer(at_once * columns);
            data = turned.data();
            copy_rows(chunk, columns, data, chunk.rows);
        }
        blas::qr_append(columns, chunk.rows, triangle.data(), columns, data, chunk.rows);
        ++additions;
    });
}

void TriangularFactor::merge(const TriangularFactor& other) {
    const double factor = admit(other);
    if (factor == 0) return;
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
