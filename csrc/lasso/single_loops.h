// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code. Compiled with -ffp-contract=fast: products and sums fuse where the instruction set can.
#include <cstdint>
#include <cstring>

#include "lasso/single_kernels.h"

namespace lmscope::lasso::single {
namespace {

// The same eight sums on every instruction set, in as many registers as they take there.
using Eight = double __attribute__((vector_size(lanes * sizeof(double))));

inline void load(const double* source, Eight& target) { std::memcpy(&target, source, sizeof target); }
inline void store(const Eight& source, double* target) { std::memcpy(target, &source, sizeof source); }

inline double sum(const Eight& value) {
    return ((value[0] + value[4]) + (value[1] + value[5])) + ((value[2] + value[6]) + (value[3] + value[7]));
}

template <bool squares>
void add_row_major(const Slab& slab, const double* factors, double* sums) {
    int64_t row = 0;
    const auto term = [&](int64_t i, int64_t j, double mean) {
        const double value = slab.data[i * slab.stride + j] - mean;
        return squares ? value * value : value * factors[i];
    };
    for (; row + 4 <= slab.rows; row += 4) {
        int64_t j = 0;
        for (; j + lanes <= slab.columns; j += lanes) {
            Eight mean, total;
            load(slab.means + j, mean);
            load(sums + j, total);
#pragma GCC unroll 4
            for (int64_t i = row; i < row + 4; ++i) {
                Eight value;
                load(slab.data + i * slab.stride + j, value);
                value -= mean;
                total += squares ? value * value : value * factors[i];
            }
            store(total, sums + j);
        }
        for (; j < slab.columns; ++j)
            for (int64_t i = row; i < row + 4; ++i) sums[j] += term(i, j, slab.means[j]);
    }
    for (; row < slab.rows; ++row)
        for (int64_t j = 0; j < slab.columns; ++j) sums[j] += term(row, j, slab.means[j]);
}

template <bool squares>
void add_column_major(const Slab& slab, const double* factors, double* sums) {
    for (int64_t j = 0; j < slab.columns; ++j) {
        const double* column = slab.data + j * slab.stride;
        const double mean = slab.means[j];
        Eight total[4] = {};
        int64_t i = 0;
        for (; i + 4 * lanes <= slab.rows; i += 4 * lanes) {
#pragma GCC unroll 4
            for (int64_t v = 0; v < 4; ++v) {
                Eight value;
                load(column + i + v * lanes, value);
                value -= mean;
                Eight factor = value;
                if (!squares) load(factors + i + v * lanes, factor);
                total[v] += value * factor;
            }
        }
        double tail = 0;
        for (; i < slab.rows; ++i) {
            const double value = column[i] - mean;
            tail += squares ? value * value : value * factors[i];
        }
        sums[j] += sum((total[0] + total[1]) + (total[2] + total[3])) + tail;
    }
}

inline void add_products(const Slab& slab, const double* factors, double* sums) {
    if (slab.lines_are_rows)
        add_row_major<false>(slab, factors, sums);
    else
        add_column_major<false>(slab, factors, sums);
}

inline void add_squares(const Slab& slab, double* sums) {
    if (slab.lines_are_rows)
        add_row_major<true>(slab, nullptr, sums);
    else
        add_column_major<true>(slab, nullptr, sums);
}

inline void axpy(int64_t count, double factor, const double* x, double* y) {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        Eight from, to;
        load(x + i, from);
        load(y + i, to);
        store(to + factor * from, y + i);
    }
    for (; i < count; ++i) y[i] += factor * x[i];
}

inline double dot(int64_t count, const double* x, const double* y) {
    Eight total[4] = {};
    int64_t i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes) {
#pragma GCC unroll 4
        for (int64_t v = 0; v < 4; ++v) {
            Eight left, right;
            load(x + i + v * lanes, left);
            load(y + i + v * lanes, right);
            total[v] += left * right;
        }
    }
    double tail = 0;
    for (; i < count; ++i) tail += x[i] * y[i];
    return sum((total[0] + total[1]) + (total[2] + total[3])) + tail;
}

inline bool sweep(const int64_t* order, int64_t count, int64_t size, const double* gram, int64_t stride, double bound,
                  double* w, double* q) {
    bool changed = false;
    for (int64_t index = 0; index < count; ++index) {
        const int64_t j = order[index];
        const double* column = gram + j * stride;
        const double rho = q[j] + column[j] * w[j];
        const double target = rho > bound ? (rho - bound) / column[j] : rho < -bound ? (rho + bound) / column[j] : 0.0;
        if (target == w[j]) continue;
        const double delta = target - w[j];
        w[j] = target;
        axpy(size, -delta, column, q);
        changed = true;
    }
    return changed;
}

}  // namespace
}  // namespace lmscope::lasso::single
