#include "bidiagonal/sturm_lanes.h"

namespace lmscope::bidiagonal {

const Sturm sturm_avx2 = {count<false>, count<true>};

}  // namespace lmscope::bidiagonal
