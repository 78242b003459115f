#pragma once

#include "eigenvalues/band/band.h"
#include "eigenvalues/dense/tiles.h"

namespace lmscope::eigenvalues {

// A band matrix with the eigenvalues of the dense symmetric one, whose tiles are destroyed. The same bits for any
// number of threads.
Band dense_to_band(Tiles& tiles);

}  // namespace lmscope::eigenvalues
