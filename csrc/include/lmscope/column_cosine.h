#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

namespace cosine {
struct Packed;
}

// The columns of a matrix laid out for comparison, each divided by a power of two; columns of norm zero are left out.
// Immutable and cheap to copy: one packing serves every comparison that the matrix takes part in.
class PackedColumns {
public:
    // `argument` names the matrix in errors.
    PackedColumns(const MatrixView& matrix, const char* argument);

    int64_t depth() const;
    int64_t columns() const;
    int64_t bytes() const;
    // The same columns with the sign of some rows turned: `negative` has an entry for each, not zero where it is
    // turned.
    PackedColumns with_signs(const uint8_t* negative) const;
    // With a sign for every entry: `negative` is depth() x columns(), row by row.
    PackedColumns with_entry_signs(const uint8_t* negative) const;

    // The columns of norm zero, ascending.
    std::vector<int64_t> zero_columns() const;
    const cosine::Packed& packed() const { return *packed_; }

private:
    explicit PackedColumns(std::shared_ptr<const cosine::Packed> packed) : packed_(std::move(packed)) {}

    std::shared_ptr<const cosine::Packed> packed_;
};

// Cosines of all pairs. `counts`: bins of equal width over [-1, 1], the last one closed. Per column the largest
// |cosine| and the column of the other side that attains it, the lowest one of equals; NaN and -1 for a column that has
// no partner because it, or every other one, has norm zero.
struct ColumnCosine {
    std::vector<int64_t> counts;
    std::vector<double> max_abs_x;
    std::vector<double> max_abs_y;
    std::vector<int64_t> argmax_x;
    std::vector<int64_t> argmax_y;
};

constexpr int64_t most_cosine_bins = 65536;

ColumnCosine column_cosine(const PackedColumns& x, const PackedColumns& y, int64_t bins);

// Columns of one matrix with each other: every unordered pair once, no column with itself.
ColumnCosine column_cosine(const PackedColumns& x, int64_t bins);

}  // namespace lmscope
