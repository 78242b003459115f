#include <algorithm>
#include <cmath>
#include <string>

#include "bidiagonal/sturm.h"
#include "lmscope/bidiagonal.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope {

const bidiagonal::Sturm& bidiagonal::sturm() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return bidiagonal::sturm_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return bidiagonal::sturm_avx2;
#endif
    return bidiagonal::sturm_scalar;
}

namespace {

using bidiagonal::separate_lanes;
using bidiagonal::shared_lanes;

// Singular values below this share of the norm are not told apart from zero: their squares stay far from underflow.
constexpr double smallest_share = 1e-30;

void require_finite(const double* values, int64_t rows, int64_t columns, const char* argument) {
    for (int64_t i = 0; i < rows * columns; ++i)
        if (!std::isfinite(values[i]))
            throw InvalidArgument(std::string(argument) + " is not finite at row " + std::to_string(i / columns) +
                                  ", column " + std::to_string(i % columns));
}

void validate(const BidiagonalBatch& matrices) {
    if (matrices.order < 1) throw InvalidArgument("diagonal has no column");
    require_finite(matrices.diagonal, matrices.batch, matrices.order, "diagonal");
    require_finite(matrices.off_diagonal, matrices.batch, matrices.order - 1, "off_diagonal");
}

// An upper bound of the singular values (Gershgorin's, of the symmetric matrix with zero diagonal), 1 for a zero
// matrix.
double norm_bound(const BidiagonalBatch& matrices, int64_t index) {
    const double* diagonal = matrices.diagonal + index * matrices.order;
    const double* off_diagonal = matrices.off_diagonal + index * (matrices.order - 1);
    double bound = 0;
    for (int64_t i = 0; i < matrices.order; ++i) {
        const double before = i > 0 ? std::fabs(off_diagonal[i - 1]) : 0;
        const double after = i + 1 < matrices.order ? std::fabs(off_diagonal[i]) : 0;
        bound = std::max(bound, std::fabs(diagonal[i]) + std::max(before, after));
    }
    if (!std::isfinite(bound)) throw InvalidArgument("entries are too large: their sums overflow");
    return bound > 0 ? bound : 1;
}

void squares_of(const BidiagonalBatch& matrices, int64_t index, double bound, double* target, int64_t step) {
    const double* diagonal = matrices.diagonal + index * matrices.order;
    const double* off_diagonal = matrices.off_diagonal + index * (matrices.order - 1);
    for (int64_t i = 0; i < matrices.order; ++i) {
        const double q = diagonal[i] / bound;
        const double e = i + 1 < matrices.order ? off_diagonal[i] / bound : 0;
        target[2 * i * step] = q * q;
        target[(2 * i + 1) * step] = e * e;
    }
}

}  // namespace

void count_below(const BidiagonalBatch& matrices, const double* thresholds, int64_t thresholds_per_matrix,
                 int64_t* counts) {
    validate(matrices);
    for (int64_t i = 0; i < matrices.batch * thresholds_per_matrix; ++i)
        if (std::isnan(thresholds[i])) throw InvalidArgument("thresholds hold a NaN");
    const bidiagonal::Sturm& kernel = bidiagonal::sturm();
    parallel_for(matrices.batch, [&](int64_t index) {
        const double bound = norm_bound(matrices, index);
        AlignedBuffer squares(2 * matrices.order);
        squares_of(matrices, index, bound, squares.data(), 1);
        const double* own = thresholds + index * thresholds_per_matrix;
        int64_t* result = counts + index * thresholds_per_matrix;
        for (int64_t first = 0; first < thresholds_per_matrix; first += shared_lanes) {
            const int64_t used = std::min<int64_t>(shared_lanes, thresholds_per_matrix - first);
            double shifts[shared_lanes];
            int64_t below[shared_lanes];
            for (int64_t l = 0; l < shared_lanes; ++l) {
                const double share = std::clamp(own[first + std::min(l, used - 1)] / bound, smallest_share, 2.0);
                shifts[l] = share * share;
            }
            kernel.shared(squares.data(), matrices.order, shifts, below);
            for (int64_t l = 0; l < used; ++l) result[first + l] = own[first + l] > 0 ? below[l] : 0;
        }
    });
}

void order_statistics(const BidiagonalBatch& matrices, const int64_t* ranks, int64_t rank_count,
                      double relative_tolerance, double* values) {
    validate(matrices);
    if (!(relative_tolerance >= 1e-15 && relative_tolerance < 1))
        throw InvalidArgument("rtol must be at least 1e-15 and less than 1, got " + std::to_string(relative_tolerance));
    for (int64_t j = 0; j < rank_count; ++j)
        if (ranks[j] < 0 || ranks[j] >= matrices.order)
            throw InvalidArgument("ranks hold " + std::to_string(ranks[j]) + ", outside 0 .. " +
                                  std::to_string(matrices.order - 1));
    const bidiagonal::Sturm& kernel = bidiagonal::sturm();
    parallel_for((matrices.batch + separate_lanes - 1) / separate_lanes, [&](int64_t group) {
        const int64_t first = group * separate_lanes;
        const int64_t used = std::min<int64_t>(separate_lanes, matrices.batch - first);
        AlignedBuffer squares(2 * matrices.order * separate_lanes);
        double bound[separate_lanes];
        for (int64_t l = 0; l < separate_lanes; ++l) {
            const int64_t index = first + std::min(l, used - 1);
            bound[l] = norm_bound(matrices, index);
            squares_of(matrices, index, bound[l], squares.data() + l, separate_lanes);
        }
        for (int64_t j = 0; j < rank_count; ++j) {
            double low[separate_lanes];
            double high[separate_lanes];
            for (int l = 0; l < separate_lanes; ++l) {
                low[l] = 0;
                high[l] = 1;
            }
            for (bool open = true; open;) {
                double middle[separate_lanes];
                double shifts[separate_lanes];
                int64_t below[separate_lanes];
                for (int l = 0; l < separate_lanes; ++l) {
                    middle[l] = 0.5 * (low[l] + high[l]);
                    const double share = std::max(middle[l], smallest_share);
                    shifts[l] = share * share;
                }
                kernel.separate(squares.data(), matrices.order, shifts, below);
                open = false;
                for (int l = 0; l < separate_lanes; ++l) {
                    (below[l] > ranks[j] ? high : low)[l] = middle[l];
                    open |= high[l] - low[l] > std::max(relative_tolerance * high[l], smallest_share);
                }
            }
            for (int64_t l = 0; l < used; ++l)
                values[(first + l) * rank_count + j] = 0.5 * (low[l] + high[l]) * bound[l];
        }
    });
}

}  // namespace lmscope
