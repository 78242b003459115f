#pragma once

#include <cstdint>

#include "lmscope/matrix_view.h"

namespace lmscope::nulls {

// All entries of the matrix in random order: rows x columns elements of the stored dtype, row-major.
void permute(const MatrixView& matrix, uint64_t seed, uint64_t draw, void* target);

}  // namespace lmscope::nulls
