#include "bidiagonal/sturm_lanes.h"

namespace lmscope::bidiagonal {

const Sturm sturm_avx2 = {count<Form::shared>, count<Form::separate>, count_tridiagonal};

}  // namespace lmscope::bidiagonal
