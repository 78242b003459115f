#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "runtime/elements/elements.h"
#include "singular_values/scaled_triangle.h"

namespace lmscope {

// The rows of a chunk, column-major with leading dimension `stride`.
void copy_rows(const elements::Chunk& chunk, int64_t columns, double* target, int64_t stride);

// The triangular factor of the rows of A seen so far, of A times 2^-exponent.
struct TriangularFactor : ScaledTriangle {
    explicit TriangularFactor(int64_t columns);
    void add(const MatrixView& matrix);
    void merge(const TriangularFactor& other);

    // Descending; the triangle is unchanged afterwards.
    std::vector<double> singular_values() const;
};

}  // namespace lmscope
