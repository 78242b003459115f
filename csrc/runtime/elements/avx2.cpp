#include <immintrin.h>

#include "runtime/elements/elements.h"

namespace lmscope::elements {
namespace {

void store(__m256 value, double* target) {
    _mm256_storeu_pd(target, _mm256_cvtps_pd(_mm256_castps256_ps128(value)));
    _mm256_storeu_pd(target + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(value, 1)));
}

void bfloat16(const uint16_t* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
        store(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16)), target + i);
    }
    widen_scalar.bfloat16(source + i, count - i, target + i);
}

void float16(const uint16_t* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        store(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i))), target + i);
    widen_scalar.float16(source + i, count - i, target + i);
}

void float32(const float* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) store(_mm256_loadu_ps(source + i), target + i);
    widen_scalar.float32(source + i, count - i, target + i);
}

}  // namespace

const Widen widen_avx2 = {bfloat16, float16, float32};

}  // namespace lmscope::elements
