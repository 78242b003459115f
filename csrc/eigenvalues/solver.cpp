#include "eigenvalues/solver.h"

#include "eigenvalues/band/band_to_tridiagonal.h"
#include "eigenvalues/dense/dense_to_band.h"
#include "eigenvalues/dense/dense_to_tridiagonal.h"

namespace lmscope::eigenvalues {
namespace {

Band band_of(int64_t order, const double* lower, int64_t stride) {
    Tiles tiles(order, lower, stride);
    tiles.reflect();
    return dense_to_band(tiles);
}

}  // namespace

std::vector<double> values_of_symmetric(int64_t order, const double* lower, int64_t stride) {
    if (order <= most_in_one_stage) return values_of(dense_to_tridiagonal(order, lower, stride));
    Band band = band_of(order, lower, stride);
    return values_of(band_to_tridiagonal(band));
}

}  // namespace lmscope::eigenvalues
