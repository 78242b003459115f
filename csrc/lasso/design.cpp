#include "lasso/design.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "lasso/range.h"
#include "lasso/single_kernels.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "runtime/thread_pool.h"

namespace lmscope::lasso::single {
namespace {

constexpr int64_t columns_per_task = 128;
// A widened block of columns_per_task columns stays in a first-level cache's reach of the second.
constexpr int64_t rows_per_block = 128;
constexpr int64_t rows_per_task = 64 * rows_per_block;

MatrixView part(const MatrixView& matrix, int64_t row, int64_t column, int64_t rows, int64_t columns) {
    MatrixView found = matrix;
    found.data = matrix.at(row, column);
    found.rows = rows;
    found.columns = columns;
    return found;
}

// Squares that neither overflow nor vanish, or only beside others 2^200 times as large.
bool in_range(const std::vector<double>& squares) {
    double largest = 0;
    for (const double square : squares) {
        if (!std::isfinite(square)) return false;
        largest = std::max(largest, square);
    }
    return largest >= 0x1p-400 && largest <= 0x1p400;
}

}  // namespace

const Loops& loops() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return loops_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return loops_avx2;
#endif
    return loops_scalar;
}

bool Design::by_rows() const { return matrix_.column_stride == 1 || matrix_.row_stride != 1; }

bool Design::in_place() const {
    return matrix_.dtype == DType::float64 && exponent_ == 0 && (by_rows() ? matrix_.column_stride : 1) == 1 &&
           reinterpret_cast<uintptr_t>(matrix_.data) % alignof(double) == 0;
}

template <typename Add>
std::vector<double> Design::sums(Add&& add) const {
    const int64_t column_tasks = (matrix_.columns + columns_per_task - 1) / columns_per_task;
    const int64_t row_tasks = (matrix_.rows + rows_per_task - 1) / rows_per_task;
    std::vector<double> partial(static_cast<size_t>(row_tasks * matrix_.columns));
    const bool lines_are_rows = by_rows();
    const bool direct = in_place();
    parallel_for(row_tasks * column_tasks, [&](int64_t task) {
        const int64_t first_column = task % column_tasks * columns_per_task;
        const int64_t columns = std::min(columns_per_task, matrix_.columns - first_column);
        const int64_t row_task = task / column_tasks;
        const int64_t end = std::min(matrix_.rows, (row_task + 1) * rows_per_task);
        double* target = partial.data() + row_task * matrix_.columns + first_column;
        AlignedBuffer widened(direct ? 0 : rows_per_block * columns_per_task);
        for (int64_t row = row_task * rows_per_task; row < end;) {
            // A column in place is read to its end: its sums are then kept in registers.
            const int64_t rows = std::min(direct && !lines_are_rows ? rows_per_task : rows_per_block, end - row);
            const MatrixView block = part(matrix_, row, first_column, rows, columns);
            const double* means = means_.data() + first_column;
            if (direct) {
                add(Slab{static_cast<const double*>(block.data), rows, columns,
                         lines_are_rows ? matrix_.row_stride : matrix_.column_stride, lines_are_rows, means},
                    row, target);
            } else {
                const elements::Chunk chunk = elements::widen_rows(block, 0, rows, exponent_, widened.data());
                add(Slab{chunk.data, rows, columns, chunk.stride, chunk.transposed, means}, row, target);
            }
            row += rows;
        }
    });
    for (int64_t row_task = 1; row_task < row_tasks; ++row_task)
        for (int64_t j = 0; j < matrix_.columns; ++j)
            partial[static_cast<size_t>(j)] += partial[static_cast<size_t>(row_task * matrix_.columns + j)];
    partial.resize(static_cast<size_t>(matrix_.columns));
    return partial;
}

Design::Design(const MatrixView& matrix, bool centre, const char* argument)
    : matrix_(matrix), means_(static_cast<size_t>(matrix.columns)) {
    const auto add_squares = [](const Slab& slab, int64_t, double* target) { loops().add_squares(slab, target); };
    squares_ = sums(add_squares);
    if (!in_range(squares_)) {
        elements::require_finite(matrix, argument);
        exponent_ = elements::scale_exponent(matrix);
        squares_ = sums(add_squares);
    }
    for (int64_t j = 0; j < matrix.columns; ++j)
        if (squares_[static_cast<size_t>(j)] < smallest_square && !is_zero_column(matrix, j))
            throw InvalidArgument(
                std::string(argument) + " has a column, " + std::to_string(j) +
                ", whose squared norm is below 2^-960, or too small beside the largest for float64: " +
                "scale it by a power of two");
    if (!centre) return;
    const std::vector<double> ones(static_cast<size_t>(matrix.rows), 1.0);
    std::vector<double> means = products(ones.data());
    for (double& mean : means) mean /= static_cast<double>(matrix.rows);
    means_ = std::move(means);
    squares_ = sums(add_squares);
}

std::vector<double> Design::products(const double* factors) const {
    return sums([factors](const Slab& slab, int64_t row, double* target) {
        loops().add_products(slab, factors + row, target);
    });
}

void Design::copy_columns(const std::vector<int64_t>& columns, double* target) const {
    const auto count = static_cast<int64_t>(columns.size());
    if (!by_rows()) {
        parallel_for(count, [&](int64_t index) {
            const int64_t column = columns[static_cast<size_t>(index)];
            double* copy = target + index * matrix_.rows;
            elements::widen_rows(part(matrix_, 0, column, matrix_.rows, 1), 0, matrix_.rows, exponent_, copy);
            const double mean = means_[static_cast<size_t>(column)];
            for (int64_t i = 0; i < matrix_.rows; ++i) copy[i] -= mean;
        });
        return;
    }
    const bool direct = in_place();
    constexpr int64_t rows_at_once = 16;
    parallel_for((matrix_.rows + rows_at_once - 1) / rows_at_once, [&](int64_t task) {
        const int64_t first = task * rows_at_once;
        const int64_t rows = std::min(rows_at_once, matrix_.rows - first);
        AlignedBuffer widened(direct ? 0 : rows * matrix_.columns);
        const double* source = static_cast<const double*>(matrix_.at(first, 0));
        int64_t stride = matrix_.row_stride;
        if (!direct) {
            source =
                elements::widen_rows(part(matrix_, first, 0, rows, matrix_.columns), 0, rows, exponent_, widened.data())
                    .data;
            stride = matrix_.columns;
        }
        for (int64_t index = 0; index < count; ++index) {
            const int64_t column = columns[static_cast<size_t>(index)];
            const double mean = means_[static_cast<size_t>(column)];
            for (int64_t i = 0; i < rows; ++i)
                target[index * matrix_.rows + first + i] = source[i * stride + column] - mean;
        }
    });
}

void require_matrix(const MatrixView& matrix, const char* argument) {
    if (matrix.device != Device::cpu)
        throw UnsupportedDType(std::string(argument) +
                               " is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument(std::string(argument) + " has shape (" + std::to_string(matrix.rows) + ", " +
                              std::to_string(matrix.columns) + "); it needs at least one row and one column");
}

void require_scale(const Design& y, double square, double largest_correlation, double alpha_max) {
    const double true_square = std::ldexp(square, 2 * y.exponent());
    if (square > 0 && !(true_square >= smallest_square && true_square <= largest_square))
        throw InvalidArgument(std::string("y has a column, 0, whose squared norm is ") +
                              (true_square < 1 ? "below 2^-960" : "above 2^960") + ": scale it by a power of two");
    if (largest_correlation > 0 && !std::isnormal(alpha_max))
        throw InvalidArgument(std::string("x and y have an alpha_max ") + (alpha_max < 1 ? "below" : "above") +
                              " the range of float64: scale y by a power of two");
}

void require_problem(const MatrixView& x, const MatrixView& y) {
    require_matrix(x, "x");
    require_matrix(y, "y");
    if (x.rows != y.rows)
        throw InvalidArgument("x and y must have the same number of rows, got " + std::to_string(x.rows) + " and " +
                              std::to_string(y.rows));
    if (y.columns != 1) throw InvalidArgument("y must hold one target, got " + std::to_string(y.columns));
}

}  // namespace lmscope::lasso::single
