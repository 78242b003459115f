#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

// Largest singular value of each random draw, an absolute error bound on it, and the Lanczos steps it took.
struct TopValues {
    std::vector<double> values;
    std::vector<double> bounds;
    std::vector<int64_t> steps;
};

// Draw d flips the sign of every entry at random; no second copy of the matrix is made.
TopValues sign_flip_top_values(const MatrixView& matrix, int64_t draws, uint64_t seed, double relative_tolerance);

// Draw d permutes all entries at random; one permuted copy, in the stored dtype, lives at a time.
TopValues permutation_top_values(const MatrixView& matrix, int64_t draws, uint64_t seed, double relative_tolerance);

// The permuted copy itself: rows x columns elements of the stored dtype, row-major.
void permute_entries(const MatrixView& matrix, uint64_t seed, uint64_t draw, void* target);

}  // namespace lmscope
