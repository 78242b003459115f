#pragma once

#include <cstdint>
#include <string>

#include "lmscope/matrix_view.h"

namespace lmscope::elements {

// Widening of contiguous elements to float64, exact for every dtype. One table per instruction set.
struct Widen {
    void (*bfloat16)(const uint16_t* source, int64_t count, double* target);
    void (*float16)(const uint16_t* source, int64_t count, double* target);
    void (*float32)(const float* source, int64_t count, double* target);
};
extern const Widen widen_scalar;
extern const Widen widen_avx2;
extern const Widen widen_avx512;

// A chunk of consecutive rows of a matrix in float64, column-major with leading dimension `stride`: the rows are its
// columns where `transposed` (columns x rows), else it is rows x columns.
struct Chunk {
    double* data;
    int64_t rows;
    int64_t stride;
    bool transposed;
};

// Throws InvalidArgument with the place of the first NaN or Inf in row order.
void require_finite(const MatrixView& matrix, const char* argument);

// Whether all elements on and below the diagonal are finite.
bool lower_is_finite(const MatrixView& matrix);

// "NaN at row 3, column 1": the first element on or below the diagonal, in row order, that is not finite.
std::string first_non_finite_of_lower(const MatrixView& matrix);

// Stops at the first element that is not zero.
bool is_zero(const MatrixView& matrix);

// The power of two by which the elements are to be divided so that their squares neither overflow nor vanish: 0 unless
// the largest magnitude of a float64 matrix lies outside 2^-200 .. 2^200.
int scale_exponent(const MatrixView& matrix);

// The same for a matrix of that largest magnitude.
int scale_exponent(double largest);

// `count` elements of a row from (row, column) on, or of a column where `down`, times `scale`.
void widen_line(const MatrixView& matrix, int64_t row, int64_t column, int64_t count, bool down, double scale,
                double* target);

// Rows [first, first + rows) times 2^-exponent, in parallel. `target` holds rows * matrix.columns doubles.
Chunk widen_rows(const MatrixView& matrix, int64_t first, int64_t rows, int exponent, double* target);

// The same rows packed in panels of `height` columns, row by row: column j of row first + k at
// j / height * height * rows + k * height + j % height, zeros in the last panel's missing columns.
void pack_rows(const MatrixView& matrix, int64_t first, int64_t rows, int exponent, int64_t height, double* target);

// Rows of a chunk of `columns` wide rows that keeps it in the last-level cache; depends on nothing else, so that
// results do not depend on the number of threads.
int64_t chunk_rows(int64_t columns);

}  // namespace lmscope::elements
