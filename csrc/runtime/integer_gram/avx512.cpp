#include <immintrin.h>

#include "runtime/integer_gram/kernels.h"

namespace lmscope::integer_gram {
namespace {

struct Integers {
    __m512i values;
    __mmask32 fits;
};

// Mantissas shifted by the distance of their exponents from the column's unit; one fits where no bit is lost. Shifts by
// 16 or more, to which negative distances count too, give zero.
template <int mantissa_bits, int exponent_mask>
Integers to_integers(__m512i bits, __m512i units) {
    const __m512i one = _mm512_set1_epi16(1);
    const __m512i field = _mm512_and_si512(_mm512_srli_epi16(bits, mantissa_bits), _mm512_set1_epi16(exponent_mask));
    const __mmask32 normal = _mm512_test_epi16_mask(field, field);
    const __m512i fraction = _mm512_and_si512(bits, _mm512_set1_epi16((1 << mantissa_bits) - 1));
    const __m512i mantissa = _mm512_or_si512(fraction, _mm512_maskz_set1_epi16(normal, 1 << mantissa_bits));
    const __m512i distance = _mm512_sub_epi16(_mm512_max_epi16(field, one), units);
    const __m512i opposite = _mm512_sub_epi16(_mm512_setzero_si512(), distance);
    const __m512i down = _mm512_srlv_epi16(mantissa, opposite);
    const __mmask32 below = _mm512_movepi16_mask(distance);
    const __m512i size = _mm512_mask_blend_epi16(below, _mm512_sllv_epi16(mantissa, distance), down);
    const __mmask32 kept = _mm512_mask_cmpeq_epi16_mask(below, _mm512_sllv_epi16(down, opposite), mantissa);
    const __mmask32 near = _mm512_cmple_epi16_mask(distance, _mm512_set1_epi16(15 - mantissa_bits - 1));
    const __mmask32 small = _mm512_cmple_epu16_mask(size, _mm512_set1_epi16(largest_integer));
    const __mmask32 zero = _mm512_testn_epi16_mask(mantissa, mantissa);
    const __mmask32 fits = (kept | (~below & near & small)) | zero;
    const __m512i positive = _mm512_maskz_mov_epi16(fits, size);
    const __mmask32 negative = _mm512_movepi16_mask(bits);
    return {_mm512_mask_sub_epi16(positive, negative, _mm512_setzero_si512(), positive), fits};
}

// Four rows of 32 bytes-in-words to a quad of 32 columns: [column][row].
void store_plane(const __m512i* words, int8_t* target, int32_t* sums) {
    const __m512i first_columns = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7,
                                                   38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i last_columns = _mm512_add_epi16(first_columns, _mm512_set1_epi16(16));
    const __m512i byte = _mm512_set1_epi16(0xff);
    const __m512i upper = _mm512_or_si512(_mm512_and_si512(words[0], byte), _mm512_slli_epi16(words[1], 8));
    const __m512i lower = _mm512_or_si512(_mm512_and_si512(words[2], byte), _mm512_slli_epi16(words[3], 8));
    const __m512i columns[2] = {_mm512_permutex2var_epi16(upper, first_columns, lower),
                                _mm512_permutex2var_epi16(upper, last_columns, lower)};
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
        _mm512_storeu_si512(target + 64 * half, columns[half]);
        const __m512i pairs = _mm512_maddubs_epi16(_mm512_set1_epi8(1), columns[half]);
        const __m512i quads = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
        _mm512_storeu_si512(sums + 16 * half, _mm512_add_epi32(_mm512_loadu_si512(sums + 16 * half), quads));
    }
}

template <int mantissa_bits, int exponent_mask>
void split(const Strip& strip) {
    // The rows of a matrix lie pages apart, where no hardware looks ahead.
    constexpr int64_t rows_ahead = 32;
    const __m512i units = _mm512_loadu_si512(strip.units);
    for (int64_t row = 0; row < strip.rows; row += quad) {
        __m512i low[quad];
        __m512i high[quad];
#pragma GCC unroll 4
        for (int64_t k = 0; k < quad; ++k) {
            const uint16_t* source = strip.source + (row + k) * strip.source_stride;
            __builtin_prefetch(source + rows_ahead * strip.source_stride);
            const __m512i bits = _mm512_loadu_si512(source);
            const Integers integers = to_integers<mantissa_bits, exponent_mask>(bits, units);
            _mm512_storeu_si512(strip.elements + (row + k) * panel_columns, bits);
            strip.leftovers[row + k] = static_cast<uint32_t>(~integers.fits);
            low[k] = integers.values;
            high[k] = _mm512_srai_epi16(_mm512_add_epi16(integers.values, _mm512_set1_epi16(128)), 8);
        }
        int8_t* digits = strip.digits + row / quad * quad_bytes;
        store_plane(high, digits, strip.high_sums);
        store_plane(low, digits + plane_bytes, strip.low_sums);
    }
}

// 32 elements as float32, in an order of their own.
struct Widened {
    __m512 values[2];
};

struct OfBfloat16 {
    // Even columns, then odd ones: no element changes its lane.
    static Widened widen(__m512i bits) {
        const __m512i odd = _mm512_set1_epi32(static_cast<int>(0xffff0000));
        return {{_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)), _mm512_castsi512_ps(_mm512_and_si512(bits, odd))}};
    }
    static void store(const __m512d* sums, double* target) {
        const __m512i first = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0);
        const __m512i last = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
            _mm512_storeu_pd(target + 16 * i, _mm512_permutex2var_pd(sums[i], first, sums[2 + i]));
            _mm512_storeu_pd(target + 16 * i + 8, _mm512_permutex2var_pd(sums[i], last, sums[2 + i]));
        }
    }
};

struct OfFloat16 {
    static Widened widen(__m512i bits) {
        return {{_mm512_cvtph_ps(_mm512_castsi512_si256(bits)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(bits, 1))}};
    }
    static void store(const __m512d* sums, double* target) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) _mm512_storeu_pd(target + 8 * i, sums[i]);
    }
};

template <typename Type>
void add_row(float value, __m512i bits, __m512d* sums) {
    const __m512d factor = _mm512_set1_pd(static_cast<double>(value));
    const Widened widened = Type::widen(bits);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        const __m512d first = _mm512_cvtps_pd(_mm512_castps512_ps256(widened.values[i]));
        const __m512d last = _mm512_cvtps_pd(_mm512_extractf32x8_ps(widened.values[i], 1));
        sums[2 * i] = _mm512_fmadd_pd(factor, first, sums[2 * i]);
        sums[2 * i + 1] = _mm512_fmadd_pd(factor, last, sums[2 * i + 1]);
    }
}

// Two sums of every second row each, so that no product waits for the one before it. Runs of limited length, as in
// add_chunk: the errors of a long sum of equal terms all have one sign.
template <typename Type, bool masked>
void rest_of(const Leftover* leftovers, int64_t count, const uint16_t* elements, const uint32_t* masks, double* sums) {
    const auto row = [&](const Leftover& leftover) {
        const uint16_t* source = elements + leftover.row * panel_columns;
        if constexpr (masked) return _mm512_maskz_loadu_epi16(~masks[leftover.row], source);
        return _mm512_loadu_si512(source);
    };
    __m512d total[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) total[i] = _mm512_setzero_pd();
    for (int64_t at = 0; at < count;) {
        const int64_t end = count - at < 2 * leftover_run ? count : at + 2 * leftover_run;
        __m512d even[4];
        __m512d odd[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) even[i] = odd[i] = _mm512_setzero_pd();
        for (; at + 2 <= end; at += 2) {
            add_row<Type>(leftovers[at].value, row(leftovers[at]), even);
            add_row<Type>(leftovers[at + 1].value, row(leftovers[at + 1]), odd);
        }
        if (at < end) {
            add_row<Type>(leftovers[at].value, row(leftovers[at]), even);
            ++at;
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) total[i] = _mm512_add_pd(total[i], _mm512_add_pd(even[i], odd[i]));
    }
    Type::store(total, sums);
}

template <typename Type>
void rest(const Leftover* leftovers, int64_t count, const uint16_t* elements, const uint32_t* masks, double* sums) {
    if (masks == nullptr)
        rest_of<Type, false>(leftovers, count, elements, masks, sums);
    else
        rest_of<Type, true>(leftovers, count, elements, masks, sums);
}

// Whole numbers below 2^53 all the way to `exact`, so float64 computes with them as int64 would.
void finish(const Block& block, double* target, int64_t stride) {
    const __m256i offset = _mm256_set1_epi32(block.offset);
    for (int64_t i = 0; i < block.height; i += 8) {
        const __m256i of_high =
            _mm256_mullo_epi32(offset, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.high_sums + i)));
        const __m256i of_low =
            _mm256_mullo_epi32(offset, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.low_sums + i)));
        const __m256i corrections[weights] = {of_high, _mm256_add_epi32(of_high, of_low), of_low};
        const __m512d unit_i = _mm512_loadu_pd(block.unit_i + i);
        const int64_t present = block.height - i < 8 ? block.height - i : 8;
        for (int64_t j = 0; j < block.width; ++j) {
            const int64_t above = block.lower && j > i ? j - i : 0;
            if (above >= present) break;
            const auto mask = static_cast<__mmask8>((1U << present) - (1U << above));
            __m512d digits[weights];
#pragma GCC unroll 3
            for (int64_t weight = 0; weight < weights; ++weight) {
                const int32_t* sums = block.sums + weight * pair_size + j * panel_columns + i;
                digits[weight] = _mm512_cvtepi32_pd(
                    _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)), corrections[weight]));
            }
            const __m512d exact = _mm512_fmadd_pd(_mm512_fmadd_pd(digits[0], _mm512_set1_pd(256.0), digits[1]),
                                                  _mm512_set1_pd(256.0), digits[2]);
            const __m512d unit = _mm512_mul_pd(unit_i, _mm512_set1_pd(block.unit_j[j]));
            const __m512d sum = _mm512_fmadd_pd(exact, unit, _mm512_loadu_pd(block.rest + j * panel_columns + i));
            double* to = target + i + j * stride;
            _mm512_mask_storeu_pd(to, mask, _mm512_add_pd(_mm512_maskz_loadu_pd(mask, to), sum));
        }
    }
}

}  // namespace

const Splitting splitting_avx512 = {
    {bfloat16_format, split<7, 0xff>, rest<OfBfloat16>}, {float16_format, split<10, 0x1f>, rest<OfFloat16>}, finish};

}  // namespace lmscope::integer_gram
