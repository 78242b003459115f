#pragma once

#include "lmscope/singular_values.h"
#include "singular_values/gram.h"
#include "singular_values/qr.h"

namespace lmscope {

// The `count` largest values with their bounds.
Spectrum spectrum_of(const Gram& gram, int64_t count);
Spectrum spectrum_of(const TriangularFactor& factor, int64_t count);

// rows >= columns, both positive, all elements finite.
Spectrum cpu_singular_values(const MatrixView& matrix, SpectrumMethod method, double relative_tolerance);

}  // namespace lmscope
