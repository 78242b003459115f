#pragma once

#include <cstdint>

namespace lmscope::eigenvalues {

// Widths of blocks that kernels are compiled for; any narrower band is chased as the next wider one.
constexpr int64_t chase_widths[] = {16, 32, 48, 64};
constexpr int chase_width_count = 4;
constexpr int64_t widest_chase = 64;

// Most lanes of a vector on any instruction set: rows are taken from a multiple of the lanes on.
constexpr int64_t widest_vector = 8;

// H = I - scale v v^T on `width` rows, v behind as many zeros as the first row lies above a multiple of the lanes, and
// before zeros.
struct Reflector {
    alignas(64) double v[widest_chase + widest_vector];
    double scale;
};

// One step of a sweep on the rows from `first` on, `width` of them. Entry (i, j) at matrix[i + j * stride]; matrix on a
// cache line, stride a multiple of widest_vector.
//
// `start` makes the reflector that annihilates column first - 1 below row `first` and applies it to the diagonal block
// from both sides. `next` takes the reflector of the `width` columns before `first`, applies it to the block of these
// columns from the right, and replaces it by the one that annihilates that block's first column below its first row,
// which is applied to the rest of it from the left and to the diagonal block from both sides.
//
// Diagonal blocks are stored whole: `next` copies the block's first row beside the diagonal block above it, which it
// belongs to in the next sweep.
struct Chase {
    void (*start)(double* matrix, int64_t stride, int64_t first, Reflector* reflector);
    void (*next)(double* matrix, int64_t stride, int64_t first, Reflector* reflector);
};

// One for each of chase_widths.
extern const Chase chase_scalar[chase_width_count];
extern const Chase chase_avx2[chase_width_count];
extern const Chase chase_avx512[chase_width_count];

}  // namespace lmscope::eigenvalues
