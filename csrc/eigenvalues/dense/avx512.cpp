#include "eigenvalues/dense/tile_loops.h"

namespace lmscope::eigenvalues {

const TileKernels tile_kernels_avx512 = {panel_rows, multiply, update};

}  // namespace lmscope::eigenvalues
