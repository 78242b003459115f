#include "eigenvalues/solver.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eigenvalues/band/band_to_tridiagonal.h"
#include "eigenvalues/dense/dense_to_tridiagonal.h"
#include "eigenvalues/dense/panel.h"
#include "eigenvalues/dense/reflection.h"
#include "runtime/blas.h"
#include "runtime/elements/elements.h"
#include "runtime/thread_pool.h"

namespace lmscope::eigenvalues {
namespace {

using blas::Op;

// Reflectors that are not quite orthogonal move equal values all one way, in proportion to their size: with the mean of
// the diagonal subtracted none is left of a multiple of the identity, and half of two clusters. Without rounding errors
// where all entries are equal.
template <typename Diagonal>
double mean_of(int64_t order, Diagonal&& diagonal) {
    const double first = diagonal(0);
    double sum = 0;
    for (int64_t i = 0; i < order; ++i) sum += diagonal(i) - first;
    return first + sum / static_cast<double>(order);
}

std::vector<double> shifted_back(std::vector<double> values, double shift) {
    for (double& value : values) value += shift;
    return values;
}

BandReduction reduced(Tiles& tiles, double shift, const double* reflection) {
    tiles.subtract_from_diagonal(shift);
    tiles.reflect(reflection);
    return dense_to_band(tiles);
}

// Column-major, from the lower triangle times 2^-exponent.
AlignedBuffer whole(const MatrixView& matrix, int exponent) {
    const int64_t order = matrix.rows;
    const double scale = std::ldexp(1.0, -exponent);
    const bool down = matrix.row_stride == 1;
    AlignedBuffer target(order * order);
    for (int64_t i = 0; i < order; ++i) {
        double* line = target.data() + i * order;
        if (down)
            elements::widen_line(matrix, i, i, order - i, true, scale, line + i);
        else
            elements::widen_line(matrix, i, 0, i + 1, false, scale, line);
    }
    for (int64_t j = 0; j < order; ++j)
        for (int64_t i = j + 1; i < order; ++i)
            (down ? target[j + i * order] : target[i + j * order]) =
                down ? target[i + j * order] : target[j + i * order];
    return target;
}

std::vector<double> in_one_stage(const MatrixView& view, int exponent) {
    const int64_t order = view.rows;
    AlignedBuffer matrix = whole(view, exponent);
    const double shift = mean_of(order, [&](int64_t i) { return matrix[i + i * order]; });
    for (int64_t i = 0; i < order; ++i) matrix[i + i * order] -= shift;
    return shifted_back(values_of(dense_to_tridiagonal(order, matrix.data())), shift);
}

// Columns that one task rotates: all panels pass over them without waiting for others.
int64_t group_of(int64_t columns) { return std::clamp<int64_t>((columns + 15) / 16 * 4, 4, 64); }

}  // namespace

std::vector<double> values_of_symmetric(const MatrixView& matrix, int exponent) {
    return matrix.rows > most_in_one_stage ? BandForm(matrix, exponent).values() : in_one_stage(matrix, exponent);
}

BandForm::BandForm(const MatrixView& matrix, int exponent)
    : reflection_(reflection_vector(matrix.rows)),
      tiles_(matrix, exponent),
      shift_(mean_of(matrix.rows, [&](int64_t i) { return tiles_.at(i, i); })),
      reduction_(reduced(tiles_, shift_, reflection_.data())) {}

std::vector<double> BandForm::values() const {
    return shifted_back(values_of(band_to_tridiagonal(reduction_.band)), shift_);
}

void BandForm::reflect(int64_t columns, double* x) const {
    const int64_t order = tiles_.order;
    for (int64_t j = 0; j < columns; ++j) {
        double* column = x + j * order;
        const double twice = 2 * std::inner_product(column, column + order, reflection_.data(), 0.0);
        for (int64_t i = 0; i < order; ++i) column[i] -= twice * reflection_[i];
    }
}

// X <- (I - V T V^T) X, or with T^T.
void BandForm::apply_panel(int64_t panel, bool transposed, int64_t columns, double* x, double* projections) const {
    const int64_t order = tiles_.order;
    const int64_t width = reduction_.band.width;
    const double* scale = reduction_.scales.data() + panel * width * width;
    const int64_t first = (panel + 1) * width;
    std::fill_n(projections, width * columns, 0.0);
    for_each_part(tiles_, first, [&](const double* v, int64_t row, int64_t rows) {
        blas::gemm(Op::transpose, Op::none, width, columns, rows, 1.0, v, tile_order, x + row, order, 1.0, projections,
                   width);
    });
    blas::solve_lower(transposed ? Op::none : Op::transpose, width, columns, scale, width, projections, width);
    for_each_part(tiles_, first, [&](const double* v, int64_t row, int64_t rows) {
        blas::gemm(Op::none, Op::none, rows, columns, width, -1.0, v, tile_order, projections, width, 1.0, x + row,
                   order);
    });
}

template <typename Panels>
void BandForm::for_each_group(int64_t columns, double* x, Panels&& panels) const {
    const int64_t group = group_of(columns);
    parallel_for((columns + group - 1) / group, [&](int64_t task) {
        const int64_t count = std::min(group, columns - task * group);
        AlignedBuffer projections(reduction_.band.width * count);
        panels(count, x + task * group * tiles_.order, projections.data());
    });
}

void BandForm::rotate(int64_t columns, double* x) const {
    for_each_group(columns, x, [&](int64_t count, double* part, double* projections) {
        for (int64_t panel = reduction_.panels - 1; panel >= 0; --panel)
            apply_panel(panel, false, count, part, projections);
        reflect(count, part);
    });
}

void BandForm::rotate_back(int64_t columns, double* x) const {
    for_each_group(columns, x, [&](int64_t count, double* part, double* projections) {
        reflect(count, part);
        for (int64_t panel = 0; panel < reduction_.panels; ++panel) apply_panel(panel, true, count, part, projections);
    });
}

}  // namespace lmscope::eigenvalues
