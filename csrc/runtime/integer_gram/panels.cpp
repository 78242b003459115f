#include "runtime/integer_gram/panels.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "runtime/integer_gram/units.h"
#include "runtime/thread_pool.h"

namespace lmscope::integer_gram {
namespace {

// 32 columns of a chunk, row by row: a row of the matrix itself where it holds them side by side, else a copy, which
// has zeros in the columns that the matrix lacks.
struct Source {
    const uint16_t* data;
    int64_t stride;
    std::vector<uint16_t> copy;

    Source(const MatrixView& matrix, int64_t first, int64_t rows, int64_t column) {
        const int64_t columns = std::min(panel_columns, matrix.columns - column);
        if (columns == panel_columns && matrix.column_stride == 1) {
            data = static_cast<const uint16_t*>(matrix.at(first, column));
            stride = matrix.row_stride;
            return;
        }
        copy.assign(static_cast<size_t>(rows * panel_columns), 0);
        // Blocks keep the target in the first-level cache whichever way the matrix lies.
        for (int64_t row = 0; row < rows; row += row_granule)
            for (int64_t j = 0; j < columns; ++j)
                for (int64_t i = row; i < std::min(rows, row + row_granule); ++i)
                    std::memcpy(&copy[static_cast<size_t>(i * panel_columns + j)], matrix.at(first + i, column + j), 2);
        data = copy.data();
        stride = panel_columns;
    }
};

float value_of(uint16_t element, const Format& format) {
    const int magnitude = element & 0x7fff;
    const int field = magnitude >> format.mantissa_bits;
    const int fraction = magnitude & ((1 << format.mantissa_bits) - 1);
    const int mantissa = field == 0 ? fraction : fraction | 1 << format.mantissa_bits;
    const float value = std::ldexp(static_cast<float>(mantissa), std::max(1, field) - format.bias);
    return (element & 0x8000) != 0 ? -value : value;
}

}  // namespace

Panels::Panels(int64_t columns, int64_t most_rows)
    : count_((columns + panel_columns - 1) / panel_columns),
      most_rows_((most_rows + row_granule - 1) / row_granule * row_granule),
      digits_(count_ * most_rows_ / quad * quad_bytes / 8),
      elements_(count_ * most_rows_ * panel_columns / 4),
      masks_(static_cast<size_t>(count_ * most_rows_)),
      panels_(static_cast<size_t>(count_)) {}

bool Panels::split(const MatrixView& matrix, int64_t first, int64_t rows, const Splitting& splitting,
                   int64_t most_leftovers) {
    rows_ = (rows + row_granule - 1) / row_granule * row_granule;
    type_ = matrix.dtype == DType::bfloat16 ? &splitting.bfloat16 : &splitting.float16;
    // A count of integers that only grows: whether it passes the limit depends on no order in time.
    std::atomic<int64_t> found{0};
    parallel_for(count_, [&](int64_t p) {
        if (found.load(std::memory_order_relaxed) > most_leftovers) return;
        split_panel(matrix, first, rows, p);
        count_leftovers(p);
        const int64_t own = panels_[static_cast<size_t>(p)].starts[panel_columns];
        if (found.fetch_add(own, std::memory_order_relaxed) + own <= most_leftovers) collect(p);
    });
    return found.load(std::memory_order_relaxed) <= most_leftovers;
}

void Panels::split_panel(const MatrixView& matrix, int64_t first, int64_t rows, int64_t p) {
    const Source source(matrix, first, rows, p * panel_columns);
    Panel& one = panels_[static_cast<size_t>(p)];
    int16_t units[panel_columns];
    choose_units(source.data, source.stride, rows, type_->format, units);
    for (int64_t j = 0; j < panel_columns; ++j) one.unit[j] = std::ldexp(1.0, units[j] - type_->format.bias);
    std::fill_n(one.high_sums, panel_columns, 0);
    std::fill_n(one.low_sums, panel_columns, 0);
    int8_t* digits = reinterpret_cast<int8_t*>(digits_.data()) + digits_before(p);
    uint16_t* elements = reinterpret_cast<uint16_t*>(elements_.data()) + elements_before(p);
    uint32_t* masks = masks_.data() + p * most_rows_;
    const int64_t whole = rows / quad * quad;
    type_->split({source.data, source.stride, whole, units, digits, elements, masks, one.high_sums, one.low_sums});
    // The last rows, and zeros below them.
    std::vector<uint16_t> last(static_cast<size_t>((rows_ - whole) * panel_columns), 0);
    for (int64_t row = whole; row < rows; ++row)
        std::memcpy(&last[static_cast<size_t>((row - whole) * panel_columns)], source.data + row * source.stride,
                    panel_columns * sizeof(uint16_t));
    type_->split({last.data(), panel_columns, rows_ - whole, units, digits + whole / quad * quad_bytes,
                  elements + whole * panel_columns, masks + whole, one.high_sums, one.low_sums});
}

void Panels::count_leftovers(int64_t p) {
    Panel& one = panels_[static_cast<size_t>(p)];
    const uint32_t* masks = this->masks(p);
    std::fill_n(one.starts, panel_columns + 1, 0);
    for (int64_t row = 0; row < rows_; ++row)
        for (uint32_t rest = masks[row]; rest != 0; rest &= rest - 1) ++one.starts[__builtin_ctz(rest) + 1];
    for (int64_t j = 0; j < panel_columns; ++j) one.starts[j + 1] += one.starts[j];
}

void Panels::collect(int64_t p) {
    Panel& one = panels_[static_cast<size_t>(p)];
    const uint32_t* masks = this->masks(p);
    one.leftovers.resize(static_cast<size_t>(one.starts[panel_columns]));
    int64_t next[panel_columns];
    std::copy_n(one.starts, panel_columns, next);
    for (int64_t row = 0; row < rows_; ++row)
        for (uint32_t rest = masks[row]; rest != 0; rest &= rest - 1) {
            const int64_t j = __builtin_ctz(rest);
            one.leftovers[static_cast<size_t>(next[j]++)] = {
                static_cast<uint32_t>(row), value_of(elements(p)[row * panel_columns + j], type_->format)};
        }
}

const Leftover* Panels::leftovers(int64_t p, int64_t column) const {
    const Panel& one = panels_[static_cast<size_t>(p)];
    return one.leftovers.data() + one.starts[column];
}

int64_t Panels::leftovers_of(int64_t p, int64_t column) const {
    const Panel& one = panels_[static_cast<size_t>(p)];
    return one.starts[column + 1] - one.starts[column];
}

}  // namespace lmscope::integer_gram
