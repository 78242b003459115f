#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope::lasso::single {

// The columns of a matrix in its stored dtype, times 2^-exponent and less their means where asked; sums over it run in
// fixed blocks, so that they do not depend on the number of threads.
class Design {
public:
    // Throws InvalidArgument with the place of a NaN or Inf, named as in `argument`.
    Design(const MatrixView& matrix, bool centre, const char* argument);

    int64_t rows() const { return matrix_.rows; }
    int64_t columns() const { return matrix_.columns; }
    int exponent() const { return exponent_; }
    const std::vector<double>& means() const { return means_; }
    // Squared norms of the columns.
    const std::vector<double>& squares() const { return squares_; }

    // X^T factors.
    std::vector<double> products(const double* factors) const;
    // One after the other, in float64.
    void copy_columns(const std::vector<int64_t>& columns, double* target) const;

private:
    // Whether the elements of a row lie closer to each other than those of a column.
    bool by_rows() const;
    // Whether its lines can be read as they are.
    bool in_place() const;
    template <typename Add>
    std::vector<double> sums(Add&& add) const;

    MatrixView matrix_;
    int exponent_ = 0;
    std::vector<double> means_;
    std::vector<double> squares_;
};

// Throw InvalidArgument unless the matrix has elements, and unless y is one column of as many rows as x;
// UnsupportedDType for a CUDA tensor.
void require_matrix(const MatrixView& matrix, const char* argument);
void require_problem(const MatrixView& x, const MatrixView& y);

// Throws InvalidArgument where ||y||^2 or alpha_max leaves the range of float64; `square` and `largest_correlation` are
// those of the scaled x and y.
void require_scale(const Design& y, double square, double largest_correlation, double alpha_max);

}  // namespace lmscope::lasso::single
