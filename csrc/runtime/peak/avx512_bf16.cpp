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
    const __m512 numbers_of_one = _mm512_set1_ps(factor);
    const __m512 numbers_of_other = _mm512_set1_ps(addend);
    const __m512bh one = _mm512_cvtne2ps_pbh(numbers_of_one, numbers_of_one);
    const __m512bh other = _mm512_cvtne2ps_pbh(numbers_of_other, numbers_of_other);
    for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 24
        for (int i = 0; i < chains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], one, other);
    __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 24
    for (int i = 0; i < chains; ++i) total = _mm512_add_ps(total, sums[i]);
    float numbers[lanes];
    _mm512_storeu_ps(numbers, total);
    return numbers[0];
}

}  // namespace

// A pair of products a lane.
const Loop bfloat16_avx512 = {4.0 * chains * lanes, run};

}  // namespace lmscope::peak
