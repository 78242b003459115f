#pragma once

#include <cstdint>

#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// A symmetric band matrix: `width` diagonals below the main one. Lower band storage: entry (i, j), i >= j, at
// entries[i - j + j * (width + 1)].
struct Band {
    int64_t order;
    int64_t width;
    AlignedBuffer entries;
};

}  // namespace lmscope::eigenvalues
