#include "column_cosine/tile_loops.h"
#include "runtime/amx_tiles.h"

namespace lmscope::cosine {
namespace {

void transpose(const float* source, float* target) {
    __m512i from[side];
    __m512i pairs[side];
    __m512i quads[side];
#pragma GCC unroll 16
    for (int i = 0; i < side; ++i) from[i] = _mm512_loadu_si512(source + i * side);
#pragma GCC unroll 8
    for (int i = 0; i < side; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(from[i], from[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(from[i], from[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < side; i += 4) {
        quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    // Quarter q of quads[4 j + i] is column 4 q + i of rows 4 j to 4 j + 3.
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const __m512i even_upper = _mm512_shuffle_i32x4(quads[i], quads[4 + i], 0x88);
        const __m512i odd_upper = _mm512_shuffle_i32x4(quads[i], quads[4 + i], 0xdd);
        const __m512i even_lower = _mm512_shuffle_i32x4(quads[8 + i], quads[12 + i], 0x88);
        const __m512i odd_lower = _mm512_shuffle_i32x4(quads[8 + i], quads[12 + i], 0xdd);
        _mm512_storeu_si512(target + i * side, _mm512_shuffle_i32x4(even_upper, even_lower, 0x88));
        _mm512_storeu_si512(target + (4 + i) * side, _mm512_shuffle_i32x4(odd_upper, odd_lower, 0x88));
        _mm512_storeu_si512(target + (8 + i) * side, _mm512_shuffle_i32x4(even_upper, even_lower, 0xdd));
        _mm512_storeu_si512(target + (12 + i) * side, _mm512_shuffle_i32x4(odd_upper, odd_lower, 0xdd));
    }
}

// Of every 16 steps two registers, one after the other: a row holds the 32 depths of one column. 32 columns are two
// groups, each whole.
void interleave_registers(const Parts<float>& parts, int64_t steps, float* target) {
    for (int64_t step = 0; step < steps; step += side)
        for (int part = 0; part < parts.count; ++part)
            transpose(parts.source[part] + step * group, target + (2 * step + parts.place[part]) * side);
}

// 16 steps of a group of y are a register as they lie: the pairs of 16 columns in every row.
void multiply_registers(const void* x, const void* y, int64_t group_stride, int64_t steps, bool add, float* target) {
    constexpr int columns = 2 * side;
    constexpr int64_t target_bytes = columns * sizeof(float);
    const char* from_x = static_cast<const char*>(x);
    const char* from_y = static_cast<const char*>(y);
    // GCC 12's tile loads do not tell that they read memory.
    asm volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; step += side) {
        _tile_loadd(4, from_x, row_bytes);
        _tile_loadd(6, from_y, row_bytes);
        _tile_loadd(7, from_y + group_stride, row_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, from_x + register_bytes, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        from_x += 2 * register_bytes;
        from_y += register_bytes;
    }
    alignas(64) float sums[columns * columns];
    float* stored = add ? sums : target;
    _tile_stored(0, stored, target_bytes);
    _tile_stored(1, stored + side, target_bytes);
    _tile_stored(2, stored + side * columns, target_bytes);
    _tile_stored(3, stored + side * columns + side, target_bytes);
    if (!add) return;
    for (int i = 0; i < columns * columns; i += side)
        _mm512_storeu_ps(target + i, _mm512_add_ps(_mm512_loadu_ps(target + i), _mm512_load_ps(sums + i)));
}

}  // namespace

// 384 depths of 32 columns on either side are 48 KB, the first-level cache of the processors that have tiles; the wider
// block spreads the transpositions, which a product of registers outruns, over more of those.
const Kernels kernels_amx = {{32,
                              32,
                              16,
                              {192, 1024, 384},
                              multiply_registers,
                              finish<float, 32, 2>,
                              interleave_registers,
                              enter_tiles,
                              leave_tiles},
                             tile<float, 14, 2>(),
                             tile<double, 6, 4>(),
                             widen};

}  // namespace lmscope::cosine
