#include "eigenvalues/tridiagonal/tridiagonal.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bidiagonal/sturm.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

constexpr int64_t lanes = bidiagonal::shared_lanes;

// Eigenvalues searched for together. Many, so that few lanes idle when only the slow ones are left; threads share the
// groups out.
constexpr int64_t group_size = 256;

// The matrix times a power of two that brings all eigenvalues into (-1, 1).
struct Scaled {
    explicit Scaled(const Tridiagonal& matrix)
        : order(static_cast<int64_t>(matrix.diagonal.size())), entries(2 * order) {
        const auto beside = [&](int64_t i) {
            return i >= 0 && i + 1 < order ? std::fabs(matrix.off_diagonal[static_cast<size_t>(i)]) : 0.0;
        };
        for (int64_t i = 0; i < order; ++i)
            bound = std::max(bound, std::fabs(matrix.diagonal[static_cast<size_t>(i)]) + beside(i - 1) + beside(i));
        if (bound == 0) return;
        exponent = std::ilogb(bound) + 1;
        bound = std::scalbn(bound, -exponent);
        for (int64_t i = 0; i < order; ++i) {
            entries[2 * i] = std::scalbn(matrix.diagonal[static_cast<size_t>(i)], -exponent);
            const double scaled = std::scalbn(beside(i), -exponent);
            // Raising a square to 1e-60 moves no eigenvalue by more than 1e-30.
            entries[2 * i + 1] = std::max(scaled * scaled, 1e-60);
        }
    }

    int64_t order;
    // No eigenvalue is larger (Gershgorin); zero for the zero matrix.
    double bound = 0;
    int exponent = 0;
    AlignedBuffer entries;
};

// A shift, the number of eigenvalues up to it, and the determinant of the shifted matrix, zero where it is not known.
struct Probe {
    double shift;
    int64_t below;
    double fraction;
    int64_t exponent;
};

// Fills in `below` and the determinants.
void evaluate(const Scaled& matrix, Probe* probes, int64_t count) {
    for (int64_t first = 0; first < count; first += lanes) {
        double shifts[lanes];
        int64_t below[lanes];
        double fractions[lanes];
        int64_t exponents[lanes];
        const int64_t used = std::min(lanes, count - first);
        for (int64_t l = 0; l < lanes; ++l) shifts[l] = probes[first + std::min(l, used - 1)].shift;
        bidiagonal::sturm().tridiagonal(matrix.entries.data(), matrix.order, shifts, below, {fractions, exponents});
        for (int64_t l = 0; l < used; ++l) probes[first + l] = {shifts[l], below[l], fractions[l], exponents[l]};
    }
}

// Eigenvalues low.below .. high.below - 1 lie between the two shifts.
struct Bracket {
    Probe low;
    Probe high;
    // Half the width that is allowed by now, and how far regula falsi is moved; unset before a single eigenvalue's
    // first step.
    double allowance = 0;
    double pull = 0;

    int64_t count() const { return high.below - low.below; }
    double width() const { return high.shift - low.shift; }
    double middle() const { return 0.5 * (low.shift + high.shift); }

    // The next shift for a single eigenvalue by a form of the ITP method (Oliveira and Takahashi, ACM Trans. Math.
    // Softw. 47, 2020) on the determinant: regula falsi, moved towards the middle by as much as lets the other end
    // follow, and held near enough to the middle for a bracket that shrinks by 0.7 a step: bisection's steps are at
    // most doubled. The method's own 0.5 leaves no freedom after a few bad steps.
    double interpolated(double resolution) {
        const double half = 0.5 * width();
        if (allowance == 0) {
            allowance = half;
            pull = 0.2 / width();
        }
        const double reach = std::max(allowance - half, 0.0);
        allowance *= 0.7;
        if (low.fraction == 0 || high.fraction == 0) return middle();
        const auto difference = static_cast<int>(std::clamp<int64_t>(high.exponent - low.exponent, -4000, 4000));
        const double ratio = std::ldexp(high.fraction / low.fraction, difference);
        if (!(ratio < 0)) return middle();
        const double from_middle = width() / (1 - ratio) - half;
        const double moved = std::fabs(from_middle) - std::max(pull * width() * width(), resolution);
        return middle() + std::copysign(std::min(std::max(moved, 0.0), reach), from_middle);
    }
};

// Finds eigenvalues first .. last - 1 of a scaled matrix.
class Search {
public:
    Search(const Scaled& matrix, int64_t first, int64_t last, double* values)
        : matrix_(matrix), first_(first), last_(last), values_(values), resolution_(0x1p-53 * matrix.bound) {}

    // Probes in ascending order of shift whose outermost ones enclose all eigenvalues.
    void run(const std::vector<Probe>& grid) {
        for (size_t i = 0; i + 1 < grid.size(); ++i) keep({grid[i], grid[i + 1]});
        while (!open_.empty()) round();
    }

private:
    void round() {
        const int64_t open = static_cast<int64_t>(open_.size());
        probes_.clear();
        for (Bracket& bracket : open_) {
            const int64_t points = points_for(bracket, open);
            for (int64_t i = 1; i <= points; ++i) {
                const double shift = bracket.count() == 1
                                         ? bracket.interpolated(resolution_)
                                         : bracket.low.shift + bracket.width() * static_cast<double>(i) /
                                                                   static_cast<double>(points + 1);
                probes_.push_back({inside(bracket, shift), 0, 0, 0});
            }
        }
        evaluate(matrix_, probes_.data(), static_cast<int64_t>(probes_.size()));
        std::vector<Bracket> before;
        before.swap(open_);
        size_t next = 0;
        for (const Bracket& bracket : before) {
            Bracket rest = bracket;
            for (int64_t points = points_for(bracket, open); points > 0; --points) {
                Probe probe = probes_[next++];
                // Counts need not be monotonous within their own error.
                probe.below = std::clamp(probe.below, rest.low.below, rest.high.below);
                Bracket part = rest;
                part.high = probe;
                rest.low = probe;
                keep(part);
            }
            keep(rest);
        }
    }

    // Brackets of several eigenvalues are cut by as many points as idle lanes allow.
    static int64_t points_for(const Bracket& bracket, int64_t open) {
        return bracket.count() == 1 ? 1 : std::clamp<int64_t>(lanes / open, 1, 2 * bracket.count());
    }

    static double inside(const Bracket& bracket, double shift) {
        return shift > bracket.low.shift && shift < bracket.high.shift ? shift : bracket.middle();
    }

    void keep(const Bracket& bracket) {
        const int64_t begin = std::max(bracket.low.below, first_);
        const int64_t end = std::min(bracket.high.below, last_);
        if (begin >= end) return;
        const double middle = bracket.middle();
        if (bracket.width() > resolution_ && middle > bracket.low.shift && middle < bracket.high.shift)
            open_.push_back(bracket);
        else
            std::fill(values_ + begin, values_ + end, std::scalbn(middle, matrix_.exponent));
    }

    const Scaled& matrix_;
    int64_t first_;
    int64_t last_;
    double* values_;
    double resolution_;
    std::vector<Bracket> open_;
    std::vector<Probe> probes_;
};

// Counts at evenly spaced shifts, about as many as there are eigenvalues.
std::vector<Probe> evaluated_grid(const Scaled& matrix) {
    const int64_t calls = (matrix.order + lanes - 1) / lanes;
    const int64_t points = calls * lanes;
    // Eigenvalues at the bound itself are counted at neither end.
    const double reach = matrix.bound * (1 + 0x1p-40);
    std::vector<Probe> grid;
    grid.push_back({-reach, 0, 0, 0});
    for (int64_t i = 1; i <= points; ++i)
        grid.push_back({reach * (2 * static_cast<double>(i) / static_cast<double>(points + 1) - 1), 0, 0, 0});
    parallel_for(calls, [&](int64_t call) { evaluate(matrix, grid.data() + 1 + call * lanes, lanes); });
    grid.push_back({reach, matrix.order, 0, 0});
    for (size_t i = 1; i < grid.size(); ++i) grid[i].below = std::max(grid[i].below, grid[i - 1].below);
    return grid;
}

}  // namespace

std::vector<double> values_of(const Tridiagonal& matrix) {
    const Scaled scaled(matrix);
    std::vector<double> values(static_cast<size_t>(scaled.order), 0.0);
    if (scaled.bound == 0) return values;
    const std::vector<Probe> grid = evaluated_grid(scaled);
    parallel_for((scaled.order + group_size - 1) / group_size, [&](int64_t group) {
        const int64_t first = group * group_size;
        Search(scaled, first, std::min(first + group_size, scaled.order), values.data()).run(grid);
    });
    // Groups cut at different shifts: neighbours of two of them may have changed places by a unit roundoff.
    std::sort(values.begin(), values.end());
    return values;
}

}  // namespace lmscope::eigenvalues
