#pragma once

#include <cstdint>

#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"

namespace lmscope {

// What both one-pass routes keep: a columns x columns triangle, column-major, of the rows seen so far times
// 2^-exponent. Its elements are of the given degree in those of the rows: 2 for a Gram matrix, 1 for a triangular
// factor.
struct ScaledTriangle {
    int64_t columns = 0;
    int64_t rows = 0;
    int64_t additions = 0;
    int exponent = 0;
    AlignedBuffer triangle;

protected:
    ScaledTriangle(int64_t columns, int degree);

    // Counts the rows and settles the exponent for them; false where all are zero, which changes nothing else.
    bool admit(const MatrixView& matrix);

    // Counts the rows of another and settles the exponent for both; 0 where they are all zero, else what the other's
    // triangle is to be multiplied by.
    double admit(const ScaledTriangle& other);

private:
    void settle(int wanted);
    double shift(int power) const;

    int degree_;
};

}  // namespace lmscope
