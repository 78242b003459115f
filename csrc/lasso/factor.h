#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "lasso/single_kernels.h"

namespace lmscope::lasso::single {

// Share of its squared norm outside the span of the active columns at which a column counts as dependent on them:
// about the rounding of a Gram matrix of some thousand samples.
inline constexpr double dependent_share = 1e-12;
// Lower Cholesky factor of the Gram matrix of the active columns, row after row.
class Factor {
public:
    void clear() { rows_.clear(); }

    // Appends a column with these products with the columns so far; false, and nothing done, where it depends on them.
    bool append(std::vector<double> products, double square) {
        solve_lower(products);
        double rest = square;
        for (const double value : products) rest -= value * value;
        if (!(rest > dependent_share * square)) return false;
        products.push_back(std::sqrt(rest));
        rows_.push_back(std::move(products));
        return true;
    }

    // Solves with the Gram matrix, in place.
    void solve(std::vector<double>& right) const {
        solve_lower(right);
        for (size_t i = rows_.size(); i-- > 0;) {
            right[i] /= rows_[i][i];
            for (size_t j = 0; j < i; ++j) right[j] -= right[i] * rows_[i][j];
        }
    }

private:
    void solve_lower(std::vector<double>& right) const {
        for (size_t i = 0; i < rows_.size(); ++i)
            right[i] = (right[i] - loops().dot(static_cast<int64_t>(i), rows_[i].data(), right.data())) / rows_[i][i];
    }

    std::vector<std::vector<double>> rows_;
};

}  // namespace lmscope::lasso::single
