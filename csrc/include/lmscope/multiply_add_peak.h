#pragma once

#include <string>

namespace lmscope {

// Operations per second (two for each multiply-add) that num_threads() threads reach at the active instruction set on
// registers alone: the best of many short rounds over about `seconds`. `dtype` is "float32", or "bfloat16": float32
// too where the instruction set does not multiply bfloat16, as those products then run in float32.
double multiply_add_peak(const std::string& dtype, double seconds);

}  // namespace lmscope
