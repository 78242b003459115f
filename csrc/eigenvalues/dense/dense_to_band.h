#pragma once

#include "eigenvalues/band/band.h"
#include "eigenvalues/dense/tiles.h"

namespace lmscope::eigenvalues {

// B = Q^T A Q with a band matrix B; Q is a product of reflectors I - V T V^T, one for each panel of `band.width`
// columns, first to last. V, from the row below its panel's diagonal block on, has taken the panel's place in the
// tiles; the lower triangle of T^-T stands in `scales`, panel after panel.
struct BandReduction {
    Band band;
    AlignedBuffer scales;
    int64_t panels;
};

// The same bits for any number of threads.
BandReduction dense_to_band(Tiles& tiles);

}  // namespace lmscope::eigenvalues
