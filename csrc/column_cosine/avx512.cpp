#include "column_cosine/tile_loops.h"

namespace lmscope::cosine {

const Kernels kernels_avx512 = {{}, tile<float, 14, 2>(), tile<double, 6, 4>(), widen};

}  // namespace lmscope::cosine
