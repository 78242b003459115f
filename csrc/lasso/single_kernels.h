#pragma once

#include <cstdint>

namespace lmscope::lasso::single {

// Lengths of the vectors of a working set are padded with zeros to a multiple of this.
constexpr int64_t lanes = 8;

// Elements x(i, j) less the mean of their column; `along` is the distance of neighbours of one line.
struct Slab {
    const double* data;
    int64_t rows;
    int64_t columns;
    int64_t stride;       // from line to line
    bool lines_are_rows;  // else they are columns
    const double* means;
};

// The inner loops for one problem, one table per instruction set.
struct Loops {
    // sums[j] += sum over i of (x(i, j) - means[j]) factors[i]
    void (*add_products)(const Slab& slab, const double* factors, double* sums);
    // sums[j] += sum over i of (x(i, j) - means[j])^2
    void (*add_squares)(const Slab& slab, double* sums);
    // y[i] += factor x[i]
    void (*axpy)(int64_t count, double factor, const double* x, double* y);
    double (*dot)(int64_t count, const double* x, const double* y);
    // Cyclic coordinate descent over the coordinates order[0] .. order[count - 1] of a working set of padded size
    // `size`: w, and the gradient q = c - G w. True where a coefficient changed.
    bool (*sweep)(const int64_t* order, int64_t count, int64_t size, const double* gram, int64_t stride, double bound,
                  double* w, double* q);
};
extern const Loops loops_scalar;
extern const Loops loops_avx2;
extern const Loops loops_avx512;

const Loops& loops();

}  // namespace lmscope::lasso::single
