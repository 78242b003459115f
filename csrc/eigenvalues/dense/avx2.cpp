#include "eigenvalues/dense/tile_loops.h"

namespace lmscope::eigenvalues {

const TileKernels tile_kernels_avx2 = {height, multiply, update};

}  // namespace lmscope::eigenvalues
