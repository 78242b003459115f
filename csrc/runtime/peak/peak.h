#pragma once

#include <cstdint>

namespace lmscope::peak {

// Independent chains of multiply-adds that never leave the registers; `run` returns what depends on every one of them.
struct Loop {
    double operations_per_step;
    float (*run)(int64_t steps);
};

extern const Loop float32_scalar;
extern const Loop float32_avx2;
extern const Loop float32_avx512;
extern const Loop bfloat16_avx512;
extern const Loop bfloat16_amx;

// Read by the loops, so that no compiler knows the factors.
extern volatile float factor;
extern volatile float addend;

}  // namespace lmscope::peak
