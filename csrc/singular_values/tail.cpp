#include "singular_values/tail.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/blas.h"
#include "runtime/products.h"
#include "runtime/random_fill.h"
#include "runtime/thread_pool.h"
#include "singular_values/error_model.h"

namespace lmscope {
namespace {

using blas::Op;

constexpr int64_t row_block = 128;

// W = X V for the rows X of a chunk.
void times_basis(const elements::Chunk& chunk, int64_t columns, int64_t width, const double* basis, double* product) {
    blocked_gemm(chunk.transposed ? Op::transpose : Op::none, chunk.rows, width, columns, 1.0, chunk.data, chunk.stride,
                 basis, columns, 0.0, product, chunk.rows);
}

// A^T A V, and the triangular factor of A V where asked for.
void normal_product(const MatrixView& matrix, int exponent, int64_t width, const double* basis, double* product,
                    double* factor) {
    const int64_t columns = matrix.columns;
    const int64_t at_once = std::max(elements::chunk_rows(columns), std::min<int64_t>(2 * width, matrix.rows));
    std::fill_n(product, columns * width, 0.0);
    if (factor != nullptr) std::fill_n(factor, width * width, 0.0);
    AlignedBuffer image(std::min(at_once, matrix.rows) * width), part(columns * width);
    for_each_chunk(matrix, at_once, exponent, [&](const elements::Chunk& chunk) {
        times_basis(chunk, columns, width, basis, image.data());
        blocked_gemm(chunk.transposed ? Op::none : Op::transpose, columns, width, chunk.rows, 1.0, chunk.data,
                     chunk.stride, image.data(), chunk.rows, 0.0, part.data(), columns);
        for (int64_t i = 0; i < columns * width; ++i) product[i] += part[i];
        if (factor != nullptr) blas::qr_append(width, chunk.rows, factor, width, image.data(), chunk.rows);
    });
}

// The Cholesky factor of a Gram matrix's band plus a multiple of the identity, which grows until the factor exists.
class ShiftedBand {
public:
    ShiftedBand(const eigenvalues::BandForm& form, double least)
        : order_(form.band().order), width_(form.band().width), factor_((width_ + 1) * order_) {
        const eigenvalues::Band& band = form.band();
        for (bool positive = false; !positive; least *= 8) {
            std::copy_n(band.entries.data(), (width_ + 1) * order_, factor_.data());
            for (int64_t j = 0; j < order_; ++j) factor_[j * (width_ + 1)] += form.shift() + least;
            positive = blas::band_cholesky_lower(order_, width_, factor_.data());
        }
    }

    void solve(int64_t columns, double* b) const {
        parallel_for(columns, [&](int64_t j) { blas::solve_band(order_, width_, factor_.data(), 1, b + j * order_); });
    }

private:
    int64_t order_;
    int64_t width_;
    AlignedBuffer factor_;
};

double frobenius_norm(const Gram& gram) {
    double trace = 0;
    for (int64_t i = 0; i < gram.columns; ++i) trace += gram.triangle[i + i * gram.columns];
    return std::sqrt(std::max(0.0, trace));
}

// Puts value and bound (of the scaled matrix) at `index` where the bound is an improvement.
void improve(Spectrum& spectrum, int64_t index, double value, double bound, int exponent) {
    const auto at = static_cast<size_t>(index);
    bound = error_model::scaled_bound(bound, exponent);
    if (bound >= spectrum.bounds[at]) return;
    spectrum.values[at] = std::ldexp(value, exponent);
    spectrum.bounds[at] = bound;
    ++spectrum.refined;
}

// Bounds of the last Ritz values, theta^2 of A^T A with residual norms r, as far as they are smaller than what is in
// `bound`. With R the residuals of the last `size` ones and g the distance from theta^2 to the squares of all singular
// values outside them, |theta^2 - s^2| <= ||R||^2 / g (Mathias, SIAM J. Matrix Anal. Appl. 19, 1998). `rounding` is the
// error of a computed residual.
void improve_by_gap(const Spectrum& spectrum, int exponent, int64_t size, double rounding,
                    const std::vector<double>& theta, const std::vector<double>& residual2,
                    std::vector<double>& bound) {
    const auto width = theta.size();
    const auto first = width - static_cast<size_t>(size);
    const auto outside = static_cast<int64_t>(spectrum.values.size()) - size - 1;
    if (outside < 0) return;
    const auto at = static_cast<size_t>(outside);
    const double cut = std::ldexp(std::max(0.0, spectrum.values[at] - spectrum.bounds[at]), -exponent);
    double sum = 0;
    for (size_t j = first; j < width; ++j) sum += residual2[j];
    const double norm = std::sqrt(sum) + rounding * std::sqrt(static_cast<double>(size));
    for (size_t j = first; j < width; ++j) {
        const double gap = cut * cut - theta[j] * theta[j] - norm;
        if (gap > norm && theta[j] > 0) bound[j] = std::min(bound[j], norm * norm / (gap * theta[j]));
    }
}

bool within_tolerance(const Spectrum& spectrum, int64_t count, double relative_tolerance, double floor) {
    const auto size = static_cast<int64_t>(spectrum.values.size());
    for (int64_t i = size - count; i < size; ++i) {
        const auto at = static_cast<size_t>(i);
        if (spectrum.bounds[at] >
            std::max(tolerance(spectrum.values[at], spectrum.values[0], relative_tolerance), floor))
            return false;
    }
    return true;
}

// Neighbours that changed places within their bounds change back, each with the larger bound.
void restore_order(Spectrum& spectrum) {
    auto& values = spectrum.values;
    auto& bounds = spectrum.bounds;
    for (size_t i = 1; i < values.size(); ++i)
        for (size_t j = i; j > 0 && values[j - 1] < values[j]; --j) {
            std::swap(values[j - 1], values[j]);
            bounds[j - 1] = bounds[j] = std::max(bounds[j - 1], bounds[j]);
        }
}

}  // namespace

double tolerance(double value, double largest, double relative_tolerance) {
    return relative_tolerance * std::max(value, 1e-10 * largest);
}

// Inverse iteration on a block, preconditioned by the band form of the Gram matrix, with residuals through the matrix
// itself: a component along a larger singular value sigma shrinks by (theta / sigma)^2 a step, and what the rounding of
// the Gram matrix did to the directions is undone.
bool refine_small_tail(const MatrixView& matrix, const Gram& gram, const eigenvalues::BandForm& form, int64_t count,
                       double relative_tolerance, Spectrum& spectrum) {
    constexpr int warm_steps = 3;
    constexpr int most_steps = 24;
    const int64_t order = gram.columns;
    const int64_t width = std::min(order, count + std::max<int64_t>(8, count / 2));
    const auto size = static_cast<size_t>(width);
    const double largest = std::ldexp(spectrum.values[0], -gram.exponent);
    const double floor = error_model::refined(frobenius_norm(gram), largest, gram.additions);
    const ShiftedBand shifted(form, error_model::gram(order, gram.additions) * largest * largest);

    AlignedBuffer basis(order * width), product(order * width), rotated(order * width), rotated_product(order * width);
    AlignedBuffer factor(width * width), right(width * width);
    std::vector<double> theta(size), bound(size), residual2(size);
    fill_random(order * width, basis.data());
    for (int step = 0; step < warm_steps; ++step) {
        blas::orthonormalize(order, width, basis.data(), order);
        shifted.solve(width, basis.data());
    }
    form.rotate(width, basis.data());
    double best = HUGE_VAL;
    int stalled = 0;
    for (int step = 0; step < most_steps; ++step) {
        blas::orthonormalize(order, width, basis.data(), order);
        normal_product(matrix, gram.exponent, width, basis.data(), product.data(), factor.data());
        blas::svd_right(width, factor.data(), width, theta.data(), right.data());
        for (const auto& [source, target] : {std::pair{&basis, &rotated}, std::pair{&product, &rotated_product}})
            blas::gemm(Op::none, Op::transpose, order, width, width, 1.0, source->data(), order, right.data(), width,
                       0.0, target->data(), order);
        double worst = 0;
        for (int64_t j = 0; j < width; ++j) {
            const double square = theta[static_cast<size_t>(j)] * theta[static_cast<size_t>(j)];
            double norm2 = 0;
            for (int64_t i = 0; i < order; ++i) {
                const double residual = rotated_product[i + j * order] - square * rotated[i + j * order];
                product[i + j * order] = residual;
                norm2 += residual * residual;
            }
            // Ritz values lie above the singular values they stand for, which are never negative.
            const double value = theta[static_cast<size_t>(j)];
            bound[static_cast<size_t>(j)] = value > 0 ? std::min(value, std::sqrt(norm2) / value) : 0.0;
            residual2[static_cast<size_t>(j)] = norm2;
        }
        for (const int64_t inside : {count, width})
            improve_by_gap(spectrum, gram.exponent, inside, floor * largest, theta, residual2, bound);
        for (auto j = static_cast<size_t>(width - count); j < size; ++j) {
            bound[j] += floor;
            worst =
                std::max(worst, bound[j] / std::max(tolerance(theta[j], largest, relative_tolerance), 1.25 * floor));
        }
        stalled = worst > 0.5 * best ? stalled + 1 : 0;
        best = std::min(best, worst);
        if (worst <= 1.0 || stalled == 4 || step + 1 == most_steps) break;
        form.rotate_back(width, product.data());
        shifted.solve(width, product.data());
        form.rotate(width, product.data());
        for (int64_t i = 0; i < order * width; ++i) basis[i] = rotated[i] - product[i];
    }
    for (int64_t j = 0; j < count; ++j) {
        const auto at = static_cast<size_t>(width - count + j);
        improve(spectrum, order - count + j, theta[at], bound[at], gram.exponent);
    }
    restore_order(spectrum);
    return within_tolerance(spectrum, count, relative_tolerance, std::ldexp(1.25 * floor, gram.exponent));
}

bool refine_null_tail(const MatrixView& matrix, const Gram& gram, int64_t count, double relative_tolerance,
                      Spectrum& spectrum) {
    const int64_t order = gram.columns;
    const int64_t rank = order - count;
    const int exponent = gram.exponent;
    const double largest = std::ldexp(spectrum.values[0], -exponent);
    const double floor = error_model::refined(frobenius_norm(gram), largest, gram.additions);
    const int64_t at_once = elements::chunk_rows(order);
    Gram remainder(order);
    {
        AlignedBuffer basis(order * rank), product(order * rank), image(std::min(at_once, matrix.rows) * rank);
        fill_random(order * rank, basis.data());
        for (int step = 0; step < 3; ++step) {
            blas::orthonormalize(order, rank, basis.data(), order);
            normal_product(matrix, exponent, rank, basis.data(), product.data(), nullptr);
            std::swap(basis, product);
        }
        blas::orthonormalize(order, rank, basis.data(), order);
        for_each_chunk(matrix, at_once, exponent, [&](const elements::Chunk& chunk) {
            times_basis(chunk, order, rank, basis.data(), image.data());
            // X - (X V) V^T, in the chunk's own layout.
            parallel_for((chunk.rows + row_block - 1) / row_block, [&](int64_t block) {
                const int64_t first = block * row_block;
                const int64_t height = std::min(row_block, chunk.rows - first);
                if (chunk.transposed)
                    blas::gemm(Op::none, Op::transpose, order, height, rank, -1.0, basis.data(), order,
                               image.data() + first, chunk.rows, 1.0, chunk.data + first * chunk.stride, chunk.stride);
                else
                    blas::gemm(Op::none, Op::transpose, height, order, rank, -1.0, image.data() + first, chunk.rows,
                               basis.data(), order, 1.0, chunk.data + first, chunk.stride);
            });
            add_chunk(chunk, order, remainder.triangle.data());
            ++remainder.additions;
        });
        remainder.rows = matrix.rows;
    }
    const std::vector<double> eigenvalues = remainder.eigenvalues();
    const double top = std::max(0.0, eigenvalues.back());
    const double error = error_model::gram(order, remainder.additions) * top;
    for (int64_t j = 0; j < count; ++j) {
        const double square = eigenvalues[static_cast<size_t>(order - 1 - j)];
        improve(spectrum, rank + j, std::sqrt(std::max(0.0, square)),
                error_model::of_square_root(square, error) + floor, exponent);
    }
    restore_order(spectrum);
    return within_tolerance(spectrum, count, relative_tolerance, std::ldexp(1.25 * floor, exponent));
}

}  // namespace lmscope
