#include "eigenvalues/tridiagonal/tridiagonal.h"

#include <algorithm>
#include <cmath>

#include "bidiagonal/sturm.h"
#include "runtime/aligned_buffer.h"
#include "runtime/blas.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

constexpr int lanes = bidiagonal::shared_lanes;

// Moves ascending approximate eigenvalues to within about one unit roundoff of the largest by bisection on Sturm
// counts, whose own error is a few units, independent of the order; the QL iteration that gave them is off by a
// multiple of its square root.
void polish(const Tridiagonal& matrix, std::vector<double>& eigenvalues) {
    const auto order = static_cast<int64_t>(matrix.diagonal.size());
    double bound = std::max(std::fabs(eigenvalues.front()), std::fabs(eigenvalues.back()));
    if (bound == 0) return;
    for (const double value : matrix.diagonal) bound = std::max(bound, std::fabs(value));
    // A power of two, so that nothing is rounded; all entries are at most 1 after it.
    const double unit = std::ldexp(1.0, -(std::ilogb(bound) + 1));
    AlignedBuffer entries(2 * order);
    for (int64_t i = 0; i < order; ++i) {
        entries[2 * i] = matrix.diagonal[static_cast<size_t>(i)] * unit;
        const double beside = i + 1 < order ? matrix.off_diagonal[static_cast<size_t>(i)] * unit : 0.0;
        // Raising a square to 1e-60 moves no eigenvalue by more than 1e-30.
        entries[2 * i + 1] = std::max(beside * beside, 1e-60);
    }
    const double resolution = 0x1p-53 * bound * unit;
    const double reach = resolution * (8.0 + 4.0 * std::sqrt(static_cast<double>(order)));
    const bidiagonal::Sturm& kernel = bidiagonal::sturm();

    parallel_for((order + lanes - 1) / lanes, [&](int64_t group) {
        const int64_t first = group * lanes;
        const auto index = [&](int lane) { return std::min(first + lane, order - 1); };
        double low[lanes];
        double high[lanes];
        double middle[lanes];
        int64_t below[lanes];
        double fractions[lanes];
        int64_t exponents[lanes];
        const bidiagonal::Determinants unused{fractions, exponents};
        for (int lane = 0; lane < lanes; ++lane) {
            const double value = eigenvalues[static_cast<size_t>(index(lane))] * unit;
            low[lane] = value - reach;
            high[lane] = value + reach;
        }
        // The eigenvalue with this index must lie inside: otherwise the interval grows until it does.
        for (double step = reach; step < 1; step *= 4) {
            bool inside = true;
            kernel.tridiagonal(entries.data(), order, low, below, unused);
            for (int lane = 0; lane < lanes; ++lane)
                if (below[lane] > index(lane)) low[lane] -= 4 * step, inside = false;
            kernel.tridiagonal(entries.data(), order, high, below, unused);
            for (int lane = 0; lane < lanes; ++lane)
                if (below[lane] <= index(lane)) high[lane] += 4 * step, inside = false;
            if (inside) break;
        }
        const auto widest = [&] {
            double width = 0;
            for (int lane = 0; lane < lanes; ++lane) width = std::max(width, high[lane] - low[lane]);
            return width;
        };
        for (double width = widest(); width > resolution; width /= 2) {
            for (int lane = 0; lane < lanes; ++lane) middle[lane] = 0.5 * (low[lane] + high[lane]);
            kernel.tridiagonal(entries.data(), order, middle, below, unused);
            for (int lane = 0; lane < lanes; ++lane) (below[lane] > index(lane) ? high : low)[lane] = middle[lane];
        }
        for (int lane = 0; lane < std::min<int64_t>(lanes, order - first); ++lane)
            eigenvalues[static_cast<size_t>(first + lane)] = 0.5 * (low[lane] + high[lane]) / unit;
    });
    std::sort(eigenvalues.begin(), eigenvalues.end());
}

}  // namespace

std::vector<double> values_of(const Tridiagonal& matrix) {
    std::vector<double> values = matrix.diagonal;
    std::vector<double> scratch = matrix.off_diagonal;
    blas::tridiagonal_eigenvalues(static_cast<int64_t>(values.size()), values.data(), scratch.data());
    polish(matrix, values);
    return values;
}

}  // namespace lmscope::eigenvalues
