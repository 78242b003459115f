#include "runtime/gram/loops.h"

namespace lmscope::gram {

const Kernels kernels_avx512 = {panel_rows, add_products};

}  // namespace lmscope::gram
