#include <immintrin.h>

#include "runtime/elements/elements.h"

namespace lmscope::elements {
namespace {

void store(__m512 value, double* target) {
    _mm512_storeu_pd(target, _mm512_cvtps_pd(_mm512_castps512_ps256(value)));
    _mm512_storeu_pd(target + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(value, 1)));
}

void bfloat16(const uint16_t* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i));
        store(_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)), target + i);
    }
    widen_scalar.bfloat16(source + i, count - i, target + i);
}

void float16(const uint16_t* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        store(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))), target + i);
    widen_scalar.float16(source + i, count - i, target + i);
}

void float32(const float* source, int64_t count, double* target) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) store(_mm512_loadu_ps(source + i), target + i);
    widen_scalar.float32(source + i, count - i, target + i);
}

}  // namespace

const Widen widen_avx512 = {bfloat16, float16, float32};

}  // namespace lmscope::elements
