#pragma once

#include <algorithm>
#include <cstdint>

#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"

namespace lmscope {

// Products accumulate in runs of this many rows at most: the drift of equal terms is a third of it.
constexpr int64_t gram_run = 256;

// Lower triangle of G += X^T X, X the matrix times 2^-exponent, in sums of `rows_at_once` rows and in fixed output
// blocks; returns the number of sums.
int64_t add_gram(const MatrixView& matrix, int64_t rows_at_once, int exponent, double* gram);

// The same for one chunk of rows.
void add_chunk(const elements::Chunk& chunk, int64_t columns, double* gram);

// products += X^T Y (column-major, x_columns x y_columns) for chunks of the same rows, in runs as those of add_chunk;
// squares += the squared norms of Y's columns.
void add_products(const elements::Chunk& x, int64_t x_columns, const elements::Chunk& y, int64_t y_columns,
                  double* products, double* squares);

// Makes both triangles of a column-major matrix equal to its lower one.
void copy_lower_to_upper(int64_t order, double* matrix);

// Calls visit(chunk) for consecutive chunks of rows times 2^-exponent; visit may overwrite the chunk.
template <typename Visit>
void for_each_chunk(const MatrixView& matrix, int64_t rows_at_once, int exponent, Visit&& visit) {
    const int64_t step = std::min(rows_at_once, matrix.rows);
    AlignedBuffer buffer(step * matrix.columns);
    for (int64_t first = 0; first < matrix.rows; first += step)
        visit(elements::widen_rows(matrix, first, std::min(step, matrix.rows - first), exponent, buffer.data()));
}

}  // namespace lmscope
