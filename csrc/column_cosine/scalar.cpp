#include "column_cosine/tile_loops.h"

namespace lmscope::cosine {

const Kernels kernels_scalar = {{}, tile<float, 3, 4>(), tile<double, 1, 8>(), widen};

}  // namespace lmscope::cosine
