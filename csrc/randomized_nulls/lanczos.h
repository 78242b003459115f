#pragma once

#include <cstdint>

#include "lmscope/matrix_view.h"
#include "lmscope/randomized_nulls.h"

namespace lmscope::nulls {

// The power of two by which entries are divided before they become float32, so that products of two of them neither
// overflow nor vanish: 0 unless the largest magnitude lies outside 2^-20 .. 2^20. `zero` where all entries are zero.
struct Scale {
    int exponent = 0;
    bool zero = false;
};
Scale scale_of(const MatrixView& matrix);

// Largest singular values of `draws` matrices: of the matrix with its signs flipped by draws 0 .. draws - 1, or, not
// flipped, of the matrix itself from the start vectors of draws first_draw .. first_draw + draws - 1.
struct Start {
    uint64_t seed = 0;
    uint64_t first_draw = 0;
    int64_t draws = 1;
    bool flipped = false;
};
TopValues top_values(const MatrixView& matrix, const Scale& scale, const Start& start, double relative_tolerance);

}  // namespace lmscope::nulls
