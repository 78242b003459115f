#include <immintrin.h>

#include "runtime/integer_gram/kernels.h"

// CPUs with AVX-512 BF16 have VNNI (runtime/cpu_features.cpp asks for both), whose VPDPBUSD adds four products of an
// unsigned and a signed byte to each int32: the left digits get an offset of 128, which `finish` takes out again.
namespace lmscope::integer_gram {
namespace {

constexpr int64_t rows = 4;
constexpr int64_t row_group_bytes = rows * quad;

// [group of four columns][quad][high, low]: what one micro-kernel reads lies in one piece.
void prepare(const int8_t* digits, int64_t quads, int8_t* left) {
    const __m128i offset = _mm_set1_epi8(-128);
    for (int64_t q = 0; q < quads; ++q)
        for (int64_t group = 0; group < panel_columns / rows; ++group)
            for (int64_t plane = 0; plane < 2; ++plane) {
                const int8_t* source = digits + q * quad_bytes + plane * plane_bytes + group * row_group_bytes;
                int8_t* target = left + ((group * quads + q) * 2 + plane) * row_group_bytes;
                const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
                _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm_xor_si128(bytes, offset));
            }
}

__m512i broadcast(const int8_t* bytes) {
    int32_t four;
    __builtin_memcpy(&four, bytes, sizeof four);
    return _mm512_set1_epi32(four);
}

// Four columns times 32: 24 registers of sums.
void multiply_group(const int8_t* left, const int8_t* right, int64_t quads, int32_t* target) {
    __m512i sums[weights][rows][2];
#pragma GCC unroll 3
    for (int64_t weight = 0; weight < weights; ++weight)
#pragma GCC unroll 4
        for (int64_t j = 0; j < rows; ++j)
#pragma GCC unroll 2
            for (int64_t half = 0; half < 2; ++half)
                sums[weight][j][half] = _mm512_loadu_si512(target + weight * pair_size + j * panel_columns + 16 * half);
    for (int64_t q = 0; q < quads; ++q) {
        const __m512i high[2] = {_mm512_loadu_si512(right), _mm512_loadu_si512(right + 64)};
        const __m512i low[2] = {_mm512_loadu_si512(right + plane_bytes), _mm512_loadu_si512(right + plane_bytes + 64)};
#pragma GCC unroll 4
        for (int64_t j = 0; j < rows; ++j) {
            const __m512i of_left = broadcast(left + quad * j);
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                sums[0][j][half] = _mm512_dpbusd_epi32(sums[0][j][half], of_left, high[half]);
                sums[1][j][half] = _mm512_dpbusd_epi32(sums[1][j][half], of_left, low[half]);
            }
        }
#pragma GCC unroll 4
        for (int64_t j = 0; j < rows; ++j) {
            const __m512i of_left = broadcast(left + row_group_bytes + quad * j);
#pragma GCC unroll 2
            for (int half = 0; half < 2; ++half) {
                sums[1][j][half] = _mm512_dpbusd_epi32(sums[1][j][half], of_left, high[half]);
                sums[2][j][half] = _mm512_dpbusd_epi32(sums[2][j][half], of_left, low[half]);
            }
        }
        left += 2 * row_group_bytes;
        right += quad_bytes;
    }
#pragma GCC unroll 3
    for (int64_t weight = 0; weight < weights; ++weight)
#pragma GCC unroll 4
        for (int64_t j = 0; j < rows; ++j)
#pragma GCC unroll 2
            for (int64_t half = 0; half < 2; ++half)
                _mm512_storeu_si512(target + weight * pair_size + j * panel_columns + 16 * half, sums[weight][j][half]);
}

void multiply(const int8_t* left, const int8_t* right, int64_t quads, int32_t* sums) {
    for (int64_t group = 0; group < panel_columns / rows; ++group)
        multiply_group(left + group * quads * 2 * row_group_bytes, right, quads, sums + group * rows * panel_columns);
}

}  // namespace

const Products products_avx512_bf16 = {128, prepare, multiply, nullptr, nullptr};

}  // namespace lmscope::integer_gram
