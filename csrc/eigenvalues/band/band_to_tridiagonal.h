#pragma once

#include "eigenvalues/band/band.h"
#include "eigenvalues/tridiagonal/tridiagonal.h"

namespace lmscope::eigenvalues {

// The tridiagonal form of a band matrix with band.width = band_width < order. The same bits for any number of threads.
Tridiagonal band_to_tridiagonal(const Band& band);

}  // namespace lmscope::eigenvalues
