#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lmscope/matrix_view.h"
#include "lmscope/singular_values.h"

namespace lmscope {

// What singular_vectors() measured of the vectors that it wrote: values, descending; residuals max(|A v - s u|,
// |A^T u - s v|), absolute; orthogonality, the largest |V^T V - I| or |U^T U - I|.
struct SingularTriplets {
    std::vector<double> values;
    std::vector<double> residuals;
    double orthogonality = 0;
    SpectrumMethod method = SpectrumMethod::gram;
};

// Throws where the kernels of this family cannot take the matrix: empty, or on another device.
void require_elements(const MatrixView& matrix, const char* argument);

// The singular triplets with the given ranks (0 the largest), ascending and without repetition; columns of `left` (rows
// x ranks) and `right` (columns x ranks), both column-major. csrc/singular_values/README.md has the routes.
// `tolerance`, nothing for what the Gram route is expected to reach, is what a residual over the largest value or an
// inner product may be before the automatic method takes the QR route.
SingularTriplets singular_vectors(const MatrixView& matrix, SpectrumMethod method, std::optional<double> tolerance,
                                  const std::vector<int64_t>& ranks, double* left, double* right);

}  // namespace lmscope
