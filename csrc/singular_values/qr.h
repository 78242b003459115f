#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"

namespace lmscope {

// The triangular factor of the rows of A seen so far, of A times 2^-exponent.
struct TriangularFactor {
    int64_t columns = 0;
    int64_t rows = 0;
    int64_t additions = 0;
    int exponent = 0;
    AlignedBuffer triangle;

    explicit TriangularFactor(int64_t columns);
    void add(const MatrixView& matrix);
    void merge(const TriangularFactor& other);

    // Descending; the triangle is unchanged afterwards.
    std::vector<double> singular_values() const;

private:
    void rescale(int new_exponent);
};

}  // namespace lmscope
