#pragma once

#include <cstdint>

namespace lmscope::eigenvalues {

// Wide bands make the dense stage level 3, narrow ones make the band stage, 6 width order^2 operations, cheap:
// README.md has the times.
constexpr int64_t band_width = 48;

}  // namespace lmscope::eigenvalues
