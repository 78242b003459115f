#include "eigenvalues/solver.h"

#include "eigenvalues/band/band_to_tridiagonal.h"
#include "eigenvalues/dense/dense_to_band.h"
#include "eigenvalues/dense/dense_to_tridiagonal.h"

namespace lmscope::eigenvalues {
namespace {

// Without rounding errors where all entries are equal.
double mean_of_diagonal(int64_t order, const double* lower, int64_t stride) {
    double sum = 0;
    for (int64_t i = 0; i < order; ++i) sum += lower[i + i * stride] - lower[0];
    return lower[0] + sum / static_cast<double>(order);
}

Tridiagonal in_two_stages(int64_t order, const double* lower, int64_t stride, double shift) {
    Band band = [&] {
        Tiles tiles(order, lower, stride);
        tiles.subtract_from_diagonal(shift);
        tiles.reflect();
        return dense_to_band(tiles);
    }();
    return band_to_tridiagonal(band);
}

}  // namespace

std::vector<double> values_of_symmetric(int64_t order, const double* lower, int64_t stride) {
    // Reflectors that are not quite orthogonal move equal values all one way, in proportion to their size: none is left
    // of a multiple of the identity, and half of two clusters.
    const double shift = mean_of_diagonal(order, lower, stride);
    std::vector<double> values =
        values_of(order <= most_in_one_stage ? dense_to_tridiagonal(order, lower, stride, shift)
                                             : in_two_stages(order, lower, stride, shift));
    for (double& value : values) value += shift;
    return values;
}

}  // namespace lmscope::eigenvalues
