#include "column_cosine/tile_loops.h"

namespace lmscope::cosine {

// Twelve sums, a row of y and a factor: the sixteen registers.
const Kernels kernels_avx2 = {{}, tile<float, 6, 2>(), tile<double, 3, 4>(), widen};

}  // namespace lmscope::cosine
