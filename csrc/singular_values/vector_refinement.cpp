#include <algorithm>
#include <cmath>

#include "runtime/aligned_buffer.h"
#include "runtime/products.h"
#include "runtime/random_fill.h"
#include "runtime/thread_pool.h"
#include "singular_values/error_model.h"
#include "singular_values/vectors.h"

namespace lmscope {
namespace {

using blas::Op;

// Values below this share of the largest are left to the QR factorisation of A times their vectors.
constexpr double leading_share = 0x1p-6;

// Larger rotations would cost the right vectors their orthogonality: 2^-60 in the square.
constexpr double largest_rotation = 0x1p-30;

// Of unit vectors, the largest inner product that needs no second projection.
constexpr double orthogonal_enough = 32 * error_model::unit_roundoff;

// Below the rounding of anything that was computed from the largest value.
constexpr double vanishing = 0x1p-70;
constexpr double placeholder = 0x1p-200;

// A unit vector with less than this outside the leading left vectors is one of theirs.
constexpr double inside_leading = 0x1p-30;

// One Newton step for all pairs with a leading value, whose left vectors have unit norm (Ogita and Aishima, Japan J.
// Indust. Appl. Math. 35, 2018, for singular vectors): with f = u_i . u_j, or c = u_i . A v_j beside a trailing value,
// the rotation theta = s_i s_j f / (s_j^2 - s_i^2) of v_i and v_j makes A v_i and A v_j orthogonal. Pairs too close for
// it keep their right vectors, and their left ones share the angle between them.
void rotate(Triplets& triplets, int64_t leading) {
    const int64_t order = triplets.count();
    const std::vector<double>& s = triplets.values;
    AlignedBuffer right(order * order), left(order * order);
    upper_products(triplets.rows, leading, order, triplets.left, right.data());
    parallel_for(order, [&](int64_t j) {
        const double b = s[static_cast<size_t>(j)];
        for (int64_t i = 0; i <= j; ++i) {
            double& above = right[i + j * order];
            double& below = right[j + i * order];
            double& left_above = left[i + j * order];
            double& left_below = left[j + i * order];
            if (i == j) {
                left_above = j < leading ? 1.0 - 0.5 * (above - 1.0) : 1.0;
                above = 1.0;
                continue;
            }
            if (i >= leading) {
                above = below = left_above = left_below = 0.0;
                continue;
            }
            const double a = s[static_cast<size_t>(i)];
            const double product = above;
            const double theta = (j < leading ? a * b : a) * product / ((b - a) * (b + a));
            if (std::abs(theta) <= largest_rotation) {
                above = theta;
                below = -theta;
                left_above = j < leading ? a * theta / b : a * theta;
                left_below = j < leading ? -b * theta / a : -theta / a;
            } else {
                above = below = 0.0;
                left_above = left_below = j < leading ? -0.5 * product : 0.0;
            }
        }
    });
    multiply_in_place(triplets.columns, order, triplets.right, Op::none, right.data());
    multiply_in_place(triplets.rows, order, triplets.left, Op::none, left.data());
}

double norm(int64_t count, const double* vector) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += vector[i] * vector[i];
    return std::sqrt(sum);
}

// X <- X - U (U^T X), X rows x width; returns the largest entry of U^T X.
double project_out(int64_t rows, int64_t leading, const double* left, int64_t width, double* x) {
    AlignedBuffer overlap(leading * width);
    blocked_gemm(Op::transpose, leading, width, rows, 1.0, left, rows, x, rows, 0.0, overlap.data(), leading);
    blocked_gemm(Op::none, rows, width, leading, -1.0, left, rows, overlap.data(), leading, 1.0, x, rows);
    double largest = 0;
    for (int64_t i = 0; i < leading * width; ++i) largest = std::max(largest, std::abs(overlap[i]));
    return largest;
}

// Columns shorter than a share of `largest`, too short to have a direction of their own, get a random one of negligible
// length.
void replace_below(double least, int64_t rows, int64_t width, double largest, double* image) {
    parallel_for(width, [&](int64_t j) {
        double* column = image + j * rows;
        if (norm(rows, column) > least * largest) return;
        fill_random(rows, column, j * rows);
        for (int64_t i = 0; i < rows; ++i) column[i] *= placeholder * largest;
    });
}

// One factorisation of all left vectors, [U_1 X] = [Q_1 Q] [. .; 0 R]: X <- Q, orthogonal to U_1 whatever X depends on,
// and triangle <- R triangle.
void factor_beside_leading(Triplets& triplets, int64_t leading, double* triangle) {
    const int64_t rows = triplets.rows;
    const int64_t order = triplets.count();
    const int64_t width = order - leading;
    AlignedBuffer all(rows * order), factor(order * order), correction(width * width);
    std::copy_n(triplets.left, rows * order, all.data());
    blas::qr(rows, order, all.data(), rows, factor.data());
    std::copy_n(all.data() + leading * rows, rows * width, triplets.left + leading * rows);
    for (int64_t j = 0; j < width; ++j)
        std::copy_n(factor.data() + leading + (leading + j) * order, width, correction.data() + j * width);
    blas::multiply_upper(width, correction.data(), triangle);
}

// The part of A times the trailing right vectors outside the leading left ones has them as its own singular vectors.
void resolve_trailing(Triplets& triplets, int64_t leading) {
    const int64_t rows = triplets.rows;
    const int64_t width = triplets.count() - leading;
    const double largest = triplets.values.front();
    double* image = triplets.left + leading * rows;
    double* right = triplets.right + leading * triplets.columns;
    project_out(rows, leading, triplets.left, width, image);
    replace_below(vanishing, rows, width, largest, image);
    project_out(rows, leading, triplets.left, width, image);
    AlignedBuffer triangle(width * width);
    blas::qr(rows, width, image, rows, triangle.data());
    // Where a column has next to nothing beyond its predecessors, the factorisation completes the basis with whatever
    // is orthogonal to those, the leading left vectors among it. Each pass may hand such a direction on to a later
    // column.
    constexpr int most_passes = 3;
    for (int pass = 0; project_out(rows, leading, triplets.left, width, image) > orthogonal_enough; ++pass) {
        if (pass == most_passes) {
            factor_beside_leading(triplets, leading, triangle.data());
            break;
        }
        replace_below(inside_leading, rows, width, 1.0, image);
        AlignedBuffer correction(width * width);
        blas::qr(rows, width, image, rows, correction.data());
        blas::multiply_upper(width, correction.data(), triangle.data());
    }
    AlignedBuffer turn(width * width), right_transposed(width * width);
    std::vector<double> values(static_cast<size_t>(width));
    blas::svd(width, width, triangle.data(), width, values.data(), turn.data(), right_transposed.data());
    multiply_in_place(rows, width, image, Op::none, turn.data());
    multiply_in_place(triplets.columns, width, right, Op::transpose, right_transposed.data());
    for (int64_t j = 0; j < width; ++j) {
        const double value = values[static_cast<size_t>(j)];
        triplets.values[static_cast<size_t>(leading + j)] = value > vanishing * largest ? value : 0.0;
    }
}

}  // namespace

void refine(Triplets& triplets) {
    const std::vector<double>& s = triplets.values;
    const auto [smallest, largest] = std::minmax_element(s.begin(), s.end());
    const double cut = leading_share * *largest;
    const auto leading = std::find_if(s.begin(), s.end(), [&](double value) { return value <= cut; }) - s.begin();
    parallel_for(leading, [&](int64_t j) {
        double* column = triplets.left + j * triplets.rows;
        for (int64_t i = 0; i < triplets.rows; ++i) column[i] /= s[static_cast<size_t>(j)];
    });
    if (*smallest >= direct_share * *largest) return;
    rotate(triplets, leading);
    if (leading < triplets.count()) resolve_trailing(triplets, leading);
}

}  // namespace lmscope
