#include "lasso/batch_loops.h"
#include "lasso/single_loops.h"

namespace lmscope::lasso {

const BatchKernels batch_avx512 = {sweep_block, sweep, newton, gaps, gradient};

namespace single {

const Loops loops_avx512 = {add_products, add_squares, axpy, dot, sweep};

}  // namespace single
}  // namespace lmscope::lasso
