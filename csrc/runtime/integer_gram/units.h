#pragma once

#include <cstdint>

#include "runtime/integer_gram/layout.h"

namespace lmscope::integer_gram {

// For each of 32 columns the unit, as Strip::units, that makes about the most of its elements integers. Judged by some
// rows where there are many: a poor choice costs time, never accuracy.
void choose_units(const uint16_t* elements, int64_t stride, int64_t rows, const Format& format, int16_t* units);

}  // namespace lmscope::integer_gram
