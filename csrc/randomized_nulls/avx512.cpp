#include <immintrin.h>

#include "randomized_nulls/products_loops.h"

namespace lmscope::nulls {
namespace {

struct Sixteen {
    using Value = __m512;
    static constexpr int width = 16;
    static Value load(const float* source) { return _mm512_load_ps(source); }
    static void store(float* target, Value value) { _mm512_store_ps(target, value); }
    static Value broadcast(float value) { return _mm512_set1_ps(value); }
    static Value fma(Value a, Value b, Value c) { return _mm512_fmadd_ps(a, b, c); }
    static float sum(Value value) { return _mm512_reduce_add_ps(value); }
    static Value flip(Value value, uint64_t word, int place) {
        const auto mask = static_cast<__mmask16>(word >> (place * width));
        return _mm512_mask_xor_ps(value, mask, value, _mm512_set1_ps(-0.0F));
    }
};

void narrow_float16(const uint16_t* source, int64_t count, float* target) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(target + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
    for (; i < count; ++i) target[i] = _cvtsh_ss(source[i]);
}

}  // namespace

const Products products_avx512 = {narrow<narrow_float16>, accumulate<Sixteen>};

}  // namespace lmscope::nulls
