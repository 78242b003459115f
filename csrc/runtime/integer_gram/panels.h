#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"
#include "runtime/integer_gram/kernels.h"

namespace lmscope::integer_gram {

// A chunk of rows as integers times a unit of each column, and the elements that are none (README.md).
class Panels {
public:
    Panels(int64_t columns, int64_t most_rows);

    // Splits rows [first, first + rows) of a bfloat16 or float16 matrix, in parallel. False, and nothing to be read,
    // where more than `most_leftovers` elements are left over: what they take is then neither done nor stored.
    bool split(const MatrixView& matrix, int64_t first, int64_t rows, const Splitting& splitting,
               int64_t most_leftovers);

    int64_t count() const { return count_; }
    int64_t quads() const { return rows_ / quad; }

    const int8_t* digits(int64_t p) const { return reinterpret_cast<const int8_t*>(digits_.data()) + digits_before(p); }
    const uint16_t* elements(int64_t p) const {
        return reinterpret_cast<const uint16_t*>(elements_.data()) + elements_before(p);
    }
    const uint32_t* masks(int64_t p) const { return masks_.data() + p * most_rows_; }
    int64_t rows() const { return rows_; }
    const Elements& type() const { return *type_; }
    const int32_t* high_sums(int64_t p) const { return panels_[static_cast<size_t>(p)].high_sums; }
    const int32_t* low_sums(int64_t p) const { return panels_[static_cast<size_t>(p)].low_sums; }
    const double* unit(int64_t p) const { return panels_[static_cast<size_t>(p)].unit; }
    const Leftover* leftovers(int64_t p, int64_t column) const;
    int64_t leftovers_of(int64_t p, int64_t column) const;

private:
    struct Panel {
        int32_t high_sums[panel_columns];
        int32_t low_sums[panel_columns];
        double unit[panel_columns];
        int64_t starts[panel_columns + 1];
        std::vector<Leftover> leftovers;
    };

    int64_t digits_before(int64_t p) const { return p * most_rows_ / quad * quad_bytes; }
    int64_t elements_before(int64_t p) const { return p * most_rows_ * panel_columns; }
    void split_panel(const MatrixView& matrix, int64_t first, int64_t rows, int64_t p);
    void count_leftovers(int64_t p);
    void collect(int64_t p);

    int64_t count_;
    int64_t most_rows_;
    int64_t rows_ = 0;
    AlignedBuffer digits_;
    AlignedBuffer elements_;
    std::vector<uint32_t> masks_;
    const Elements* type_ = nullptr;
    std::vector<Panel> panels_;
};

}  // namespace lmscope::integer_gram
