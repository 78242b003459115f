#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// The error constants behind every bound, in units of the largest singular value (squared for the Gram route);
// README.md derives their form and shows the measurements that fix their factors.
namespace lmscope::error_model {

constexpr double unit_roundoff = 0x1p-53;

// Error of one eigenvalue of the accumulated Gram matrix over its largest one.
inline double gram(int64_t columns, int64_t additions) {
    const double order = static_cast<double>(columns);
    return unit_roundoff * (150.0 + 0.5 * std::sqrt(order) + 2.0 * std::sqrt(static_cast<double>(additions)));
}

// Error of one singular value from the triangular factor over the largest one.
inline double qr(int64_t columns, int64_t additions) {
    const double order = static_cast<double>(columns);
    return unit_roundoff * (32.0 + 4.0 * std::sqrt(order) + 2.0 * std::sqrt(static_cast<double>(additions)));
}

// Error of a singular value refined against the matrix itself, over the Frobenius norm: products with unit vectors.
constexpr double refined = 4.0 * unit_roundoff;

// |sqrt(x) - sqrt(y)| for any y >= 0 with |x - y| <= error.
inline double of_square_root(double x, double error) {
    const double value = std::sqrt(std::max(0.0, x));
    return std::max(value - std::sqrt(std::max(0.0, x - error)), std::sqrt(std::max(0.0, x) + error) - value);
}

}  // namespace lmscope::error_model
