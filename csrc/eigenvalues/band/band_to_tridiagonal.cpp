#include "eigenvalues/band/band_to_tridiagonal.h"

#include "runtime/blas.h"

namespace lmscope::eigenvalues {

Tridiagonal band_to_tridiagonal(Band& band) {
    Tridiagonal result{std::vector<double>(static_cast<size_t>(band.order)),
                       std::vector<double>(static_cast<size_t>(band.order - 1))};
    blas::band_to_tridiagonal(band.order, band.width, band.entries.data(), result.diagonal.data(),
                              result.off_diagonal.data());
    return result;
}

}  // namespace lmscope::eigenvalues
