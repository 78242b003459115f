#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "runtime/gram/gram.h"
#include "singular_values/scaled_triangle.h"

namespace lmscope {

// The lower triangle of A^T A in float64, accumulated over the rows of A, of A times 2^-exponent.
struct Gram : ScaledTriangle {
    explicit Gram(int64_t columns);
    void add(const MatrixView& matrix);
    void merge(const Gram& other);

    // Of whose entries the lower triangle counts.
    MatrixView view() const;

    // Ascending.
    std::vector<double> eigenvalues() const;
};

}  // namespace lmscope
