#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "singular_values/scaled_triangle.h"

namespace lmscope {

// The lower triangle of A^T A in float64, accumulated over the rows of A, of A times 2^-exponent.
struct Gram : ScaledTriangle {
    explicit Gram(int64_t columns);
    void add(const MatrixView& matrix);
    void merge(const Gram& other);

    // Ascending eigenvalues; the triangle is unchanged afterwards.
    std::vector<double> eigenvalues();
};

// G += X^T X for a chunk of rows, in fixed output blocks.
void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram);

// Calls visit(chunk) for consecutive chunks of rows times 2^-exponent; visit may overwrite the chunk.
template <typename Visit>
void for_each_chunk(const MatrixView& matrix, int64_t rows_at_once, int exponent, Visit&& visit) {
    const int64_t step = std::min(rows_at_once, matrix.rows);
    AlignedBuffer buffer(step * matrix.columns);
    for (int64_t first = 0; first < matrix.rows; first += step)
        visit(elements::widen_rows(matrix, first, std::min(step, matrix.rows - first), exponent, buffer.data()));
}

}  // namespace lmscope
