#pragma once

#include <cstdint>

namespace lmscope {

// A batch of square bidiagonal matrices, row-major: `diagonal` is batch x order, `off_diagonal` is batch x (order - 1).
// Whether the off-diagonal lies above or below the diagonal, and the signs of the entries, change no singular value.
struct BidiagonalBatch {
    const double* diagonal;
    const double* off_diagonal;
    int64_t batch;
    int64_t order;
};

// counts[b][t]: singular values of matrix b that are less than thresholds[b][t]; batch x thresholds_per_matrix.
void count_below(const BidiagonalBatch& matrices, const double* thresholds, int64_t thresholds_per_matrix,
                 int64_t* counts);

// values[b][j]: the singular value of ascending rank ranks[j] (0 is the smallest) of matrix b, by bisection to
// `relative_tolerance` of itself or 1e-30 of the matrix's norm, whichever is larger.
void order_statistics(const BidiagonalBatch& matrices, const int64_t* ranks, int64_t rank_count,
                      double relative_tolerance, double* values);

}  // namespace lmscope
