#include "eigenvalues/dense/tile_loops.h"

namespace lmscope::eigenvalues {

const TileKernels tile_kernels_avx512 = {height, multiply, update};

}  // namespace lmscope::eigenvalues
