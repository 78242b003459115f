#include <immintrin.h>

#include "runtime/peak/peak.h"

namespace lmscope::peak {
namespace {

constexpr int chains = 12;
constexpr int lanes = 8;

float run(int64_t steps) {
    __m256 sums[chains];
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
    const __m256 by = _mm256_set1_ps(factor);
    const __m256 more = _mm256_set1_ps(addend);
    for (int64_t step = 0; step < steps; ++step)
#pragma GCC unroll 12
        for (int i = 0; i < chains; ++i) sums[i] = _mm256_fmadd_ps(sums[i], by, more);
    __m256 total = _mm256_setzero_ps();
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) total = _mm256_add_ps(total, sums[i]);
    float numbers[lanes];
    _mm256_storeu_ps(numbers, total);
    return numbers[0];
}

}  // namespace

const Loop float32_avx2 = {2.0 * chains * lanes, run};

}  // namespace lmscope::peak
