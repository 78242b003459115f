#include "lasso/batch_loops.h"

namespace lmscope::lasso {

const BatchKernels batch_avx512 = {sweep_block, sweep, newton, gaps, gradient};

}  // namespace lmscope::lasso
