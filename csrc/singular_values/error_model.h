#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "eigenvalues/error_model.h"

// The error constants behind every bound, in units of the largest singular value (squared for the Gram route);
// README.md derives their form and shows the measurements that fix their factors.
namespace lmscope::error_model {

// Sums added up one after another: independent errors grow with the square root of their number, those of equal terms
// (every block of rows the same) linearly.
inline double additions_error(int64_t additions) {
    const double number = static_cast<double>(additions);
    return std::max(2.0 * std::sqrt(number), number / 3.0);
}

// Error of one eigenvalue of the accumulated Gram matrix over its largest one.
inline double gram(int64_t columns, int64_t additions) {
    return unit_roundoff * (reduction_units(columns) + additions_error(additions));
}

// Error of one singular value from the triangular factor over the largest one.
inline double qr(int64_t columns, int64_t additions) {
    return unit_roundoff * (160.0 + 4.0 * std::sqrt(static_cast<double>(columns)) + additions_error(additions));
}

// Error of a singular value refined against the matrix itself: products of its rows with unit vectors, whose rounding
// errors are independent, and, where all rows are alike and one value carries the whole norm, sums of equal terms.
inline double refined(double frobenius_norm, double largest, int64_t additions) {
    return unit_roundoff * (4.0 * frobenius_norm + (80.0 + additions_error(additions)) * largest);
}

// |sqrt(x) - sqrt(y)| for any y >= 0 with |x - y| <= error.
inline double of_square_root(double x, double error) {
    const double value = std::sqrt(std::max(0.0, x));
    return std::max(value - std::sqrt(std::max(0.0, x - error)), std::sqrt(std::max(0.0, x) + error) - value);
}

}  // namespace lmscope::error_model
