#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "eigenvalues/error_model.h"
#include "eigenvalues/solver.h"
#include "lmscope/context.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "lmscope/symmetric_eigenvalues.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

enum class Outcome : char { found, not_finite, beyond_float64 };

void require_square(const MatrixStack& matrices) {
    active_isa();  // a wrong LMSCOPE_ISA is refused even where this dtype needs no widening
    const MatrixView& first = matrices.first;
    const std::string shape = "a has shape (" + (matrices.count != 1 ? std::to_string(matrices.count) + ", " : "") +
                              std::to_string(first.rows) + ", " + std::to_string(first.columns) + ")";
    if (matrices.count < 1 || first.rows < 1 || first.columns < 1)
        throw InvalidArgument(shape + "; it needs at least one matrix of at least one row");
    if (first.rows != first.columns)
        throw InvalidArgument(shape + "; symmetric matrices are square: for others use singular_values");
    if (first.device == Device::cuda)
        throw UnsupportedDType("a is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
}

void copy_upper_to_lower(int64_t order, double* matrix) {
    constexpr int64_t block = 64;
    const int64_t blocks = (order + block - 1) / block;
    parallel_for(blocks, [&](int64_t block_column) {
        const int64_t end = std::min(order, (block_column + 1) * block);
        for (int64_t top = block_column * block; top < order; top += block)
            for (int64_t j = block_column * block; j < end; ++j)
                for (int64_t i = std::max(j + 1, top); i < std::min(order, top + block); ++i)
                    matrix[i + j * order] = matrix[j + i * order];
    });
}

// Column-major; what lies above the diagonal is of no use.
AlignedBuffer lower_triangle(const MatrixView& matrix) {
    const int64_t order = matrix.rows;
    AlignedBuffer target(order * order);
    // Rows in memory become columns: the lower triangle then lies above the diagonal.
    if (elements::widen_rows(matrix, 0, order, 0, target.data()).transposed) copy_upper_to_lower(order, target.data());
    return target;
}

// Of the lower triangle; not finite where an entry is not. Magnitudes are ordered as their bits are, NaN last.
double largest_magnitude(int64_t order, const double* matrix) {
    constexpr int64_t columns_per_task = 64;
    std::vector<int64_t> largest(static_cast<size_t>((order + columns_per_task - 1) / columns_per_task));
    parallel_for(static_cast<int64_t>(largest.size()), [&](int64_t task) {
        int64_t found = 0;
        for (int64_t j = task * columns_per_task; j < std::min(order, (task + 1) * columns_per_task); ++j)
            for (int64_t i = j; i < order; ++i)
                found = std::max(found, std::bit_cast<int64_t>(std::fabs(matrix[i + j * order])));
        largest[static_cast<size_t>(task)] = found;
    });
    return std::bit_cast<double>(*std::max_element(largest.begin(), largest.end()));
}

// The power of two taken out so that no product in the reduction overflows or vanishes.
int scale_exponent(double largest) {
    if (largest == 0) return 0;
    const int exponent = std::ilogb(largest);
    return std::abs(exponent) <= 200 ? 0 : std::clamp(exponent, -1000, 1000);
}

Outcome solve(const MatrixView& view, double* values, double* bounds) {
    const int64_t order = view.rows;
    AlignedBuffer matrix = lower_triangle(view);
    const double largest = largest_magnitude(order, matrix.data());
    if (!std::isfinite(largest)) return Outcome::not_finite;
    const int exponent = scale_exponent(largest);
    if (exponent != 0) {
        const double factor = std::ldexp(1.0, -exponent);
        for (int64_t i = 0; i < order * order; ++i) matrix[i] *= factor;
    }
    const std::vector<double> ascending = eigenvalues::values_of_symmetric(order, matrix.data(), order);
    const double norm = std::max(std::fabs(ascending.front()), std::fabs(ascending.back()));
    const double bound = error_model::unit_roundoff * error_model::reduction_units(order) * norm;
    std::transform(ascending.rbegin(), ascending.rend(), values,
                   [&](double value) { return std::ldexp(value, exponent); });
    std::fill_n(bounds, order, error_model::scaled_bound(bound, exponent));
    return std::isinf(std::ldexp(norm, exponent)) ? Outcome::beyond_float64 : Outcome::found;
}

[[noreturn]] void refuse(const MatrixView& view, const std::string& name, Outcome outcome) {
    if (outcome == Outcome::beyond_float64)
        throw InvalidArgument("an eigenvalue of " + name + " exceeds the range of float64: scale the matrix down");
    const AlignedBuffer matrix = lower_triangle(view);
    for (int64_t row = 0;; ++row)
        for (int64_t column = 0; column <= row; ++column) {
            const double value = matrix[row + column * view.rows];
            if (std::isfinite(value)) continue;
            throw InvalidArgument(name + " has " +
                                  (std::isnan(value) ? "NaN"
                                   : value > 0       ? "Inf"
                                                     : "-Inf") +
                                  " at row " + std::to_string(row) + ", column " + std::to_string(column) +
                                  "; all values of the lower triangle must be finite");
        }
}

}  // namespace

void symmetric_eigenvalues(const MatrixStack& matrices, double* values, double* bounds) {
    require_square(matrices);
    const int64_t order = matrices.first.rows;
    std::vector<Outcome> outcomes(static_cast<size_t>(matrices.count));
    const auto solve_one = [&](int64_t index) {
        outcomes[static_cast<size_t>(index)] = solve(matrices[index], values + index * order, bounds + index * order);
    };
    // Inside a task the solver stays on its thread: right for small matrices, and for others where all threads have
    // some.
    const bool one_per_thread = order <= eigenvalues::most_in_one_stage || matrices.count >= num_threads();
    if (matrices.count > 1 && one_per_thread)
        parallel_for(matrices.count, solve_one);
    else
        for (int64_t index = 0; index < matrices.count; ++index) solve_one(index);
    for (int64_t index = 0; index < matrices.count; ++index)
        if (const Outcome outcome = outcomes[static_cast<size_t>(index)]; outcome != Outcome::found)
            refuse(matrices[index], matrices.count > 1 ? "a[" + std::to_string(index) + "]" : "a", outcome);
}

}  // namespace lmscope
