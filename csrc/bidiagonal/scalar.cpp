#include "bidiagonal/sturm_lanes.h"

namespace lmscope::bidiagonal {

const Sturm sturm_scalar = {count<false>, count<true>};

}  // namespace lmscope::bidiagonal
