#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

// Sums over the entries times 2^-exponent; central sums of powers are taken about the mean of all entries.
struct EntryStatistics {
    int exponent = 0;
    double largest = 0;
    double mean = 0;
    double central2 = 0;
    double central3 = 0;
    double central4 = 0;
    std::vector<double> row_sums;
    std::vector<double> row_squares;
    std::vector<double> column_sums;
    std::vector<double> column_squares;
};

EntryStatistics entry_statistics(const MatrixView& matrix);

}  // namespace lmscope
