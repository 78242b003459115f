#pragma once

#include <cstdint>

#include "eigenvalues/band/width.h"

namespace lmscope::eigenvalues {

// Most lanes of a vector on any instruction set: rows are taken from a multiple of the lanes on.
constexpr int64_t widest_vector = 8;

// H = I - scale v v^T on `band_width` rows, v behind as many zeros as the first row lies above a multiple of the lanes,
// and before zeros.
struct Reflector {
    alignas(64) double v[band_width + widest_vector];
    double scale;
};

// One step of a sweep on the rows from `first` on, `band_width` of them. Entry (i, j) at matrix[i + j * stride]; matrix
// on a cache line, stride a multiple of widest_vector.
//
// `start` makes the reflector that annihilates column first - 1 below row `first` and applies it to the diagonal block
// from both sides. `next` takes the reflector of the `band_width` columns before `first`, applies it to the block of
// these columns from the right, and replaces it by the one that annihilates that block's first column below its first
// row, which is applied to the rest of it from the left and to the diagonal block from both sides.
//
// Of diagonal blocks only the lower triangle is read and counts; above it the steps leave anything.
struct Chase {
    void (*start)(double* matrix, int64_t stride, int64_t first, Reflector* reflector);
    void (*next)(double* matrix, int64_t stride, int64_t first, Reflector* reflector);
};

extern const Chase chase_scalar;
extern const Chase chase_avx2;
extern const Chase chase_avx512;

}  // namespace lmscope::eigenvalues
