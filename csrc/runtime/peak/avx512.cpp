#include <immintrin.h>

#include "runtime/peak/peak.h"

namespace lmscope::peak {
namespace {

constexpr int chains = 24;
constexpr int lanes = 16;

float run(int64_t steps) {
    __m512 sums[chains];
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
    const __m512 by = _mm512_set1_ps(factor);
    const __m512 more = _mm512_set1_ps(addend);
    for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 24
        for (int i = 0; i < chains; ++i) sums[i] = _mm512_fmadd_ps(sums[i], by, more);
    __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) total = _mm512_add_ps(total, sums[i]);
    float numbers[lanes];
    _mm512_storeu_ps(numbers, total);
    return numbers[0];
}

}  // namespace

const Loop float32_avx512 = {2.0 * chains * lanes, run};

}  // namespace lmscope::peak
