#pragma once

#include <cstdint>
#include <vector>

#include "lasso/factor.h"

namespace lmscope::lasso {

// The coefficients on columns[i], whose signs are given, that minimise ||y - X w||^2 / 2 + bound ||w||_1.
struct SignedMinimum {
    std::vector<int64_t> columns;
    std::vector<double> coef;
    bool complete = true;  // no column was left out as dependent on those before it
};

// product(j, k) is element j, k of the Gram matrix; update(minimum, gradient) writes X^T (y - X w), which is X^T y at
// first.
template <typename Product, typename Update>
SignedMinimum signed_minimum(const std::vector<int64_t>& columns, const std::vector<double>& signs, double bound,
                             std::vector<double>& gradient, Product&& product, Update&& update) {
    SignedMinimum found;
    single::Factor factor;
    std::vector<double> kept_signs;
    for (size_t i = 0; i < columns.size(); ++i) {
        std::vector<double> products;
        for (const int64_t before : found.columns) products.push_back(product(columns[i], before));
        if (!factor.append(std::move(products), product(columns[i], columns[i]))) {
            found.complete = false;
            continue;
        }
        found.columns.push_back(columns[i]);
        kept_signs.push_back(signs[i]);
    }
    found.coef.assign(found.columns.size(), 0.0);
    // The second solution refines the first.
    for (int pass = 0; pass < 2; ++pass) {
        std::vector<double> right;
        for (size_t i = 0; i < found.columns.size(); ++i)
            right.push_back(gradient[static_cast<size_t>(found.columns[i])] - bound * kept_signs[i]);
        factor.solve(right);
        for (size_t i = 0; i < right.size(); ++i) found.coef[i] += right[i];
        update(found, gradient);
    }
    return found;
}

}  // namespace lmscope::lasso
