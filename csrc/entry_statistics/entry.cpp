#include "lmscope/entry_statistics.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "lmscope/error.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace {

constexpr int64_t most_slabs = 16;
constexpr int64_t block_doubles = int64_t{1} << 16;

// Count, mean and central sums of powers of a set of numbers; sets merge exactly up to rounding (Pebay, "Formulas for
// robust, one-pass parallel computation of covariances and arbitrary-order statistical moments", SAND2008-6212).
struct Moments {
    double count = 0;
    double mean = 0;
    double second = 0;
    double third = 0;
    double fourth = 0;

    void merge(const Moments& other) {
        if (other.count == 0) return;
        const double total = count + other.count;
        const double delta = other.mean - mean;
        const double share = delta / total;
        const double product = count * other.count;
        fourth += other.fourth +
                  delta * share * share * share * product * (count * count - product + other.count * other.count) +
                  6 * share * share * (count * count * other.second + other.count * other.count * second) +
                  4 * share * (count * other.third - other.count * third);
        third += other.third + delta * share * share * product * (count - other.count) +
                 3 * share * (count * other.second - other.count * second);
        second += other.second + delta * share * product;
        mean += share * other.count;
        count = total;
    }
};

struct Slab {
    Moments moments;
    double largest = 0;
    std::vector<double> column_sums;
    std::vector<double> column_squares;
};

// One line of a block; `sums` and `squares` belong to the crossing lines, one entry each.
void add_line(const double* line, int64_t count, Slab& slab, double* sums, double* squares, double& own_sum,
              double& own_squares) {
    double sum = 0;
    double square = 0;
    double largest = slab.largest;
    for (int64_t i = 0; i < count; ++i) {
        const double value = line[i];
        const double magnitude = std::fabs(value);
        largest = magnitude > largest ? magnitude : largest;
        sum += value;
        square += value * value;
        sums[i] += value;
        squares[i] += value * value;
    }
    slab.largest = largest;
    own_sum += sum;
    own_squares += square;
    Moments moments;
    moments.count = static_cast<double>(count);
    moments.mean = sum / moments.count;
    for (int64_t i = 0; i < count; ++i) {
        const double off = line[i] - moments.mean;
        const double off2 = off * off;
        moments.second += off2;
        moments.third += off2 * off;
        moments.fourth += off2 * off2;
    }
    slab.moments.merge(moments);
}

}  // namespace

EntryStatistics entry_statistics(const MatrixView& matrix) {
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument("w has shape (" + std::to_string(matrix.rows) + ", " + std::to_string(matrix.columns) +
                              "); it needs at least one row and one column");
    if (matrix.device == Device::cuda)
        throw UnsupportedDType("w is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
    elements::require_finite(matrix, "w");

    const auto rows = static_cast<size_t>(matrix.rows);
    const auto columns = static_cast<size_t>(matrix.columns);
    EntryStatistics result;
    result.exponent = elements::scale_exponent(matrix);
    result.row_sums.assign(rows, 0.0);
    result.row_squares.assign(rows, 0.0);
    result.column_sums.assign(columns, 0.0);
    result.column_squares.assign(columns, 0.0);

    const int64_t step = std::clamp<int64_t>(block_doubles / matrix.columns, 1, 64);
    const int64_t slab_rows = std::max((matrix.rows + most_slabs - 1) / most_slabs, step);
    std::vector<Slab> slabs(static_cast<size_t>((matrix.rows + slab_rows - 1) / slab_rows));
    parallel_for(static_cast<int64_t>(slabs.size()), [&](int64_t index) {
        Slab& slab = slabs[static_cast<size_t>(index)];
        slab.column_sums.assign(columns, 0.0);
        slab.column_squares.assign(columns, 0.0);
        AlignedBuffer buffer(step * matrix.columns);
        const int64_t end = std::min(matrix.rows, (index + 1) * slab_rows);
        for (int64_t first = index * slab_rows; first < end; first += step) {
            const elements::Chunk chunk =
                elements::widen_rows(matrix, first, std::min(step, end - first), result.exponent, buffer.data());
            double* row_sums = result.row_sums.data() + first;
            double* row_squares = result.row_squares.data() + first;
            if (chunk.transposed)
                for (int64_t row = 0; row < chunk.rows; ++row)
                    add_line(chunk.data + row * chunk.stride, matrix.columns, slab, slab.column_sums.data(),
                             slab.column_squares.data(), row_sums[row], row_squares[row]);
            else
                for (int64_t column = 0; column < matrix.columns; ++column)
                    add_line(chunk.data + column * chunk.stride, chunk.rows, slab, row_sums, row_squares,
                             slab.column_sums[static_cast<size_t>(column)],
                             slab.column_squares[static_cast<size_t>(column)]);
        }
    });

    Moments all;
    for (const Slab& slab : slabs) {
        all.merge(slab.moments);
        result.largest = std::max(result.largest, slab.largest);
        for (size_t column = 0; column < columns; ++column) {
            result.column_sums[column] += slab.column_sums[column];
            result.column_squares[column] += slab.column_squares[column];
        }
    }
    result.mean = all.mean;
    result.central2 = all.second;
    result.central3 = all.third;
    result.central4 = all.fourth;
    return result;
}

}  // namespace lmscope
