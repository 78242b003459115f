#pragma once

#include <cstdint>

#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// The unit vector of a fixed random reflection. Put before a reduction it leaves no equal entries: those make rounding
// errors all have one sign and add up.
AlignedBuffer reflection_vector(int64_t order);

}  // namespace lmscope::eigenvalues
