#include "lasso/range.h"

#include <cmath>
#include <string>

#include "lmscope/error.h"
#include "runtime/elements/elements.h"

namespace lmscope::lasso {

bool is_zero_column(const MatrixView& columns, int64_t j) {
    MatrixView column = columns;
    column.data = columns.at(0, j);
    column.columns = 1;
    return elements::is_zero(column);
}

void require_range(const MatrixView& columns, const double* squared_norms, int64_t step, int exponent,
                   const Named& named) {
    for (int64_t j = 0; j < columns.columns; ++j) {
        const double square = std::ldexp(squared_norms[j * step], 2 * exponent);
        if (square >= smallest_square && square <= largest_square) continue;
        if (square < smallest_square && is_zero_column(columns, j)) continue;
        throw InvalidArgument(std::string(named.argument) + " has a " + named.line + ", " + std::to_string(j) +
                              ", whose squared norm is " + (square < 1 ? "below 2^-960" : "above 2^960") +
                              ": scale it by a power of two");
    }
}

}  // namespace lmscope::lasso
