#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "lmscope/singular_vectors.h"

namespace lmscope {

// Of triplets whose values all lie above this share of the largest one, the Gram matrix's own vectors suffice.
constexpr double direct_share = 0.25;

// Some triplets of a matrix with rows >= columns, times 2^-exponent: left is rows x values, right columns x values,
// both column-major and owned by the caller.
struct Triplets {
    int64_t rows;
    int64_t columns;
    int exponent;
    double* left;
    double* right;
    std::vector<double> values;

    int64_t count() const { return static_cast<int64_t>(values.size()); }
};

// vector_refinement.cpp: brings left = A right, values its column norms, of an orthogonal `right` whose columns
// diagonalise A^T A up to rounding errors of the square of the largest value, to errors of the largest value itself.
void refine(Triplets& triplets);

// vector_checks.cpp: products with the matrix itself, nothing modelled.
std::vector<double> measured_residuals(const MatrixView& matrix, const Triplets& triplets);
double measured_orthogonality(int64_t rows, int64_t columns, const double* vectors);

// rows >= columns, both positive, all elements finite; ranks ascending.
SingularTriplets cpu_singular_vectors(const MatrixView& matrix, SpectrumMethod method, double tolerance,
                                      const std::vector<int64_t>& ranks, double* left, double* right);

// What residuals over the largest value, and inner products, stay below on the Gram route; README.md.
double reachable_tolerance(int64_t columns);

// Makes the first entry of largest magnitude of every right vector positive.
void fix_signs(int64_t rows, int64_t columns, int64_t count, double* left, double* right);

}  // namespace lmscope
