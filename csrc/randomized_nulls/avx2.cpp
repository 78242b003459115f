#include <immintrin.h>

#include "randomized_nulls/products_loops.h"

namespace lmscope::nulls {
namespace {

struct Eight {
    using Value = __m256;
    static constexpr int width = 8;
    static Value load(const float* source) { return _mm256_load_ps(source); }
    static void store(float* target, Value value) { _mm256_store_ps(target, value); }
    static Value broadcast(float value) { return _mm256_set1_ps(value); }
    static Value fma(Value a, Value b, Value c) { return _mm256_fmadd_ps(a, b, c); }
    static float sum(Value value) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
    }
    static Value flip(Value value, uint64_t word, int place) {
        const __m256i bits = _mm256_set1_epi32(static_cast<int>(word >> (place * width)));
        const __m256i moved = _mm256_sllv_epi32(bits, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
        return _mm256_xor_ps(value, _mm256_and_ps(_mm256_castsi256_ps(moved), _mm256_set1_ps(-0.0F)));
    }
};

void narrow_float16(const uint16_t* source, int64_t count, float* target) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(target + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i))));
    for (; i < count; ++i) target[i] = _cvtsh_ss(source[i]);
}

}  // namespace

const Products products_avx2 = {narrow<narrow_float16>, accumulate<Eight>};

}  // namespace lmscope::nulls
