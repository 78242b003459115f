#pragma once

#include <cstdint>

namespace lmscope::lasso {

// Problems side by side in a block of full sweeps, and the coordinates of such a block.
constexpr int block_lanes = 32;
constexpr int64_t block_rows = 32;

// Coordinates first .. first + rows - 1 of `block_lanes` problems. Arrays over coordinates and lanes have the lane
// innermost and start at coordinate `first`.
struct Block {
    const double* gram;  // column-major, of order `order`
    int64_t order;
    const double* inverse;  // 1 / G_jj by coordinate, 0 where G_jj is
    int64_t first;
    int64_t rows;
    const double* gradient;
    double* coef;
    double* change;           // coefficients after less before
    const double* threshold;  // by lane
    const double* limit;      // by lane: coordinates from there on stay as they are
};

// Problems side by side on working sets of their own.
constexpr int pack_lanes = 8;

// Lane innermost in every array; a lane with a smaller working set has inverse 0 in the places left over.
struct Pack {
    int64_t order;
    double* gram;          // order x order
    double* inverse;       // 1 / G_jj
    double* correlations;  // X^T y
    double* gradient;      // X^T (y - X w)
    double* coef;
    double* factor;    // scratch of (order + 1) (order + 2) / 2
    double* step;      // scratch of order
    int64_t* support;  // scratch of order
    double threshold[pack_lanes];
    double target_squared_norm[pack_lanes];
};

struct BatchKernels {
    // One cyclic pass over the block; false where nothing changed. `gradient` is left as it was.
    bool (*sweep_block)(const Block& block);
    // One cyclic pass over the working sets.
    void (*sweep)(Pack& pack);
    // To the minimum for the present signs, or as far as the first coefficient that would change its own, which becomes
    // zero: true then, as another step goes on from there. A lane whose matrix is singular to rounding stays where it is.
    bool (*newton)(Pack& pack);
    // Duality gaps of the problems restricted to their working sets, by lane.
    void (*gaps)(const Pack& pack, double* gaps);
    // target = correlations - sum over `terms` of coef[t] times column columns[t]; `length` elements.
    void (*gradient)(int64_t length, const double* correlations, const double* gram, int64_t order, int64_t terms,
                     const int64_t* columns, const double* coef, double* target);
};
extern const BatchKernels batch_scalar;
extern const BatchKernels batch_avx2;
extern const BatchKernels batch_avx512;

// The table of the active instruction set.
const BatchKernels& batch_kernels();

}  // namespace lmscope::lasso
