#include "bidiagonal/sturm_lanes.h"

namespace lmscope::bidiagonal {

const Sturm sturm_avx512 = {count<false>, count<true>};

}  // namespace lmscope::bidiagonal
