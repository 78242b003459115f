#include "singular_values/tridiagonal.h"

#include <algorithm>
#include <cmath>

#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

constexpr int lanes = 16;

struct Shifts {
    double at[lanes];
};

struct Counts {
    int64_t below[lanes];
};

// How many eigenvalues lie below each shift: negative pivots of T - shift I. A zero pivot is taken as a tiny negative
// one.
Counts sturm_counts(const std::vector<double>& diagonal, const std::vector<double>& off_squares, double tiny,
                    const Shifts& shifts) {
    double pivot[lanes];
    double negative[lanes];
    for (int lane = 0; lane < lanes; ++lane) {
        pivot[lane] = diagonal[0] - shifts.at[lane];
        negative[lane] = pivot[lane] < tiny ? 1.0 : 0.0;
    }
    for (size_t i = 1; i < diagonal.size(); ++i) {
        const double centre = diagonal[i];
        const double square = off_squares[i - 1];
        for (int lane = 0; lane < lanes; ++lane) {
            const double safe = std::fabs(pivot[lane]) < tiny ? -tiny : pivot[lane];
            pivot[lane] = (centre - shifts.at[lane]) - square / safe;
            negative[lane] += pivot[lane] < tiny ? 1.0 : 0.0;
        }
    }
    Counts counts;
    for (int lane = 0; lane < lanes; ++lane) counts.below[lane] = static_cast<int64_t>(negative[lane]);
    return counts;
}

}  // namespace

void polish_eigenvalues(const Tridiagonal& matrix, std::vector<double>& eigenvalues) {
    const auto& [diagonal, off_diagonal] = matrix;
    const auto order = static_cast<int64_t>(diagonal.size());
    const double scale = std::max(std::fabs(eigenvalues.front()), std::fabs(eigenvalues.back()));
    if (scale == 0) return;
    std::vector<double> off_squares(off_diagonal.size());
    double largest_square = 0;
    for (size_t i = 0; i < off_squares.size(); ++i) {
        off_squares[i] = off_diagonal[i] * off_diagonal[i];
        largest_square = std::max(largest_square, off_squares[i]);
    }
    const double tiny = 0x1p-1000 + 0x1p-970 * largest_square / scale;
    const double resolution = 0x1p-53 * scale;
    const double reach = resolution * (8.0 + 4.0 * std::sqrt(static_cast<double>(order)));

    parallel_for((order + lanes - 1) / lanes, [&](int64_t group) {
        const int64_t first = group * lanes;
        const auto index = [&](int lane) { return std::min(first + lane, order - 1); };
        Shifts low, high, middle;
        for (int lane = 0; lane < lanes; ++lane) {
            low.at[lane] = eigenvalues[static_cast<size_t>(index(lane))] - reach;
            high.at[lane] = eigenvalues[static_cast<size_t>(index(lane))] + reach;
        }
        // The eigenvalue with this index must lie inside: otherwise the interval grows until it does.
        for (double step = reach; step < 4 * scale; step *= 4) {
            const Counts below_low = sturm_counts(diagonal, off_squares, tiny, low);
            const Counts below_high = sturm_counts(diagonal, off_squares, tiny, high);
            bool inside = true;
            for (int lane = 0; lane < lanes; ++lane) {
                if (below_low.below[lane] > index(lane)) low.at[lane] -= 4 * step, inside = false;
                if (below_high.below[lane] <= index(lane)) high.at[lane] += 4 * step, inside = false;
            }
            if (inside) break;
        }
        const auto widest = [&] {
            double width = 0;
            for (int lane = 0; lane < lanes; ++lane) width = std::max(width, high.at[lane] - low.at[lane]);
            return width;
        };
        for (double width = widest(); width > resolution; width /= 2) {
            for (int lane = 0; lane < lanes; ++lane) middle.at[lane] = 0.5 * (low.at[lane] + high.at[lane]);
            const Counts below = sturm_counts(diagonal, off_squares, tiny, middle);
            for (int lane = 0; lane < lanes; ++lane)
                (below.below[lane] > index(lane) ? high : low).at[lane] = middle.at[lane];
        }
        for (int lane = 0; lane < std::min<int64_t>(lanes, order - first); ++lane)
            eigenvalues[static_cast<size_t>(first + lane)] = 0.5 * (low.at[lane] + high.at[lane]);
    });
    std::sort(eigenvalues.begin(), eigenvalues.end());
}

}  // namespace lmscope
