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
#include "runtime/subnormals.h"
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

// Of the lower triangle. Magnitudes are ordered as their bits are.
double largest_magnitude(const MatrixView& matrix) {
    constexpr int64_t lines_per_task = 64;
    const int64_t order = matrix.rows;
    const bool down = matrix.row_stride == 1;
    std::vector<int64_t> largest(static_cast<size_t>((order + lines_per_task - 1) / lines_per_task));
    parallel_for(static_cast<int64_t>(largest.size()), [&](int64_t task) {
        AlignedBuffer line(order);
        int64_t found = 0;
        for (int64_t i = task * lines_per_task; i < std::min(order, (task + 1) * lines_per_task); ++i) {
            const int64_t count = down ? order - i : i + 1;
            elements::widen_line(matrix, i, down ? i : 0, count, down, 1.0, line.data());
            for (int64_t j = 0; j < count; ++j) found = std::max(found, std::bit_cast<int64_t>(std::fabs(line[j])));
        }
        largest[static_cast<size_t>(task)] = found;
    });
    return std::bit_cast<double>(*std::max_element(largest.begin(), largest.end()));
}

Outcome solve(const MatrixView& view, double* values, double* bounds) {
    const int64_t order = view.rows;
    if (!elements::lower_is_finite(view)) return Outcome::not_finite;
    const double largest = largest_magnitude(view);
    const int exponent = elements::scale_exponent(largest);
    const std::vector<double> ascending = eigenvalues::values_of_symmetric(view, exponent);
    const double norm = std::max(std::fabs(ascending.front()), std::fabs(ascending.back()));
    // With the mean of its diagonal subtracted, the matrix that is reduced is as large as the values are apart.
    const double reduced = std::max(norm, ascending.back() - ascending.front());
    const double bound = error_model::unit_roundoff * error_model::reduction_units(order) * reduced;
    std::transform(ascending.rbegin(), ascending.rend(), values,
                   [&](double value) { return std::ldexp(value, exponent); });
    std::fill_n(bounds, order, error_model::scaled_bound(bound, exponent));
    return std::isinf(std::ldexp(norm, exponent)) ? Outcome::beyond_float64 : Outcome::found;
}

[[noreturn]] void refuse(const MatrixView& view, const std::string& name, Outcome outcome) {
    if (outcome == Outcome::beyond_float64)
        throw InvalidArgument("an eigenvalue of " + name + " exceeds the range of float64: scale the matrix down");
    throw InvalidArgument(name + " has " + elements::first_non_finite_of_lower(view) +
                          "; all values of the lower triangle must be finite");
}

}  // namespace

void symmetric_eigenvalues(const MatrixStack& matrices, double* values, double* bounds) {
    const KeepSubnormals keep_subnormals;
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
