#include "runtime/integer_gram/units.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace lmscope::integer_gram {
namespace {

constexpr int64_t sampled_rows = 512;

struct Histogram {
    std::array<int64_t, 256> counts{};
    int lowest = 255;
    int highest = 0;

    void add(uint16_t element, const Format& format) {
        const int magnitude = element & 0x7fff;
        if (magnitude == 0) return;
        const int exponent = std::max(1, magnitude >> format.mantissa_bits);
        ++counts[static_cast<size_t>(exponent)];
        lowest = std::min(lowest, exponent);
        highest = std::max(highest, exponent);
    }
};

// Elements of a mapped file may be unaligned.
uint16_t load(const uint16_t* source) {
    uint16_t element;
    std::memcpy(&element, source, sizeof element);
    return element;
}

Histogram histogram_of(const uint16_t* elements, int64_t stride, int64_t rows, int64_t step, const Format& format) {
    Histogram histogram;
    for (int64_t row = 0; row < rows; row += step) histogram.add(load(elements + row * stride), format);
    return histogram;
}

// Of the mantissas with exponents d below the unit's, one in 2^d ends in enough zeros.
int best_unit(const Histogram& histogram, const Format& format) {
    const int above = 15 - format.mantissa_bits;
    int best = 1;
    int64_t most = -1;
    for (int unit = std::max(1, histogram.lowest - above + 1); unit <= histogram.highest; ++unit) {
        int64_t fitting = 0;
        const int end = std::min(histogram.highest + 1, unit + above);
        for (int exponent = std::max(histogram.lowest, unit - format.mantissa_bits); exponent < end; ++exponent)
            fitting += histogram.counts[static_cast<size_t>(exponent)]
                       << (format.mantissa_bits - std::max(0, unit - exponent));
        if (fitting > most) {
            most = fitting;
            best = unit;
        }
    }
    return best;
}

}  // namespace

void choose_units(const uint16_t* elements, int64_t stride, int64_t rows, const Format& format, int16_t* units) {
    const int64_t step = std::max<int64_t>(1, rows / sampled_rows);
    for (int64_t column = 0; column < panel_columns; ++column) {
        Histogram histogram = histogram_of(elements + column, stride, rows, step, format);
        if (histogram.highest == 0) histogram = histogram_of(elements + column, stride, rows, 1, format);
        units[column] = static_cast<int16_t>(best_unit(histogram, format));
    }
}

}  // namespace lmscope::integer_gram
