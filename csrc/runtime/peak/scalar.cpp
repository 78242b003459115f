#include "runtime/peak/peak.h"

namespace lmscope::peak {
namespace {

constexpr int chains = 12;
constexpr int lanes = 4;
// What every x86-64 and 64-bit ARM has; the compiler chooses the instructions.
using Vector __attribute__((vector_size(lanes * sizeof(float)))) = float;

float run(int64_t steps) {
    Vector sums[chains];
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sums[i] = Vector{} + static_cast<float>(i);
    const Vector by = Vector{} + factor;
    const Vector more = Vector{} + addend;
    for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 12
        for (int i = 0; i < chains; ++i) sums[i] = sums[i] * by + more;
    Vector total{};
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) total += sums[i];
    return total[0];
}

}  // namespace

const Loop float32_scalar = {2.0 * chains * lanes, run};

}  // namespace lmscope::peak
