#pragma once

#include <cmath>
#include <cstdint>

// Error constants of the eigensolver; csrc/singular_values/README.md derives their form and shows the measurements
// that fix their factors.
namespace lmscope::error_model {

constexpr double unit_roundoff = 0x1p-53;

// Error of one eigenvalue of a symmetric matrix over the largest magnitude among them, or over the distance of the
// smallest from the largest where that is more, in unit roundoffs.
inline double reduction_units(int64_t order) { return 80.0 + 1.25 * std::sqrt(static_cast<double>(order)); }

// A bound times 2^exponent; subnormal values are rounded themselves.
inline double scaled_bound(double bound, int exponent) {
    const double scaled = std::ldexp(bound, exponent);
    return exponent < 0 && bound > 0 ? scaled + 0x1p-1074 : scaled;
}

}  // namespace lmscope::error_model
