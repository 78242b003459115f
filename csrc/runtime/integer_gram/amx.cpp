#include "runtime/amx_tiles.h"
#include "runtime/integer_gram/kernels.h"

namespace lmscope::integer_gram {
namespace {

// 16 quads of 16 columns to 16 columns of 64 rows. A register is read 64 times as often as it is made: a plain loop.
void transpose(const int8_t* source, int8_t* target) {
    for (int64_t q = 0; q < side; ++q)
        for (int64_t column = 0; column < side; ++column)
            __builtin_memcpy(target + column * row_bytes + quad * q, source + q * quad_bytes + quad * column, quad);
}

// [half of the columns][16 quads][high, low]: registers.
void prepare(const int8_t* digits, int64_t quads, int8_t* left) {
    for (int64_t half = 0; half < 2; ++half)
        for (int64_t q = 0; q < quads; q += side)
            for (int64_t plane = 0; plane < 2; ++plane) {
                transpose(digits + q * quad_bytes + plane * plane_bytes + half * row_bytes, left);
                left += register_bytes;
            }
}

// The mixed products have a register each, so that no product waits for the one before it.
void multiply_square(const int8_t* left, const int8_t* right, int64_t quads, int32_t* target) {
    constexpr int64_t target_bytes = panel_columns * sizeof(int32_t);
    _tile_loadd(0, target, target_bytes);
    _tile_loadd(1, target + pair_size, target_bytes);
    _tile_zero(2);
    _tile_loadd(3, target + 2 * pair_size, target_bytes);
    for (int64_t q = 0; q < quads; q += side) {
        _tile_loadd(4, left, row_bytes);
        _tile_loadd(6, right, quad_bytes);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, right + plane_bytes, quad_bytes);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(5, left + register_bytes, row_bytes);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
        left += 2 * register_bytes;
        right += side * quad_bytes;
    }
    alignas(64) int32_t mixed[side * side];
    _tile_stored(0, target, target_bytes);
    _tile_stored(1, target + pair_size, target_bytes);
    _tile_stored(2, mixed, row_bytes);
    _tile_stored(3, target + 2 * pair_size, target_bytes);
    for (int64_t j = 0; j < side; ++j) {
        int32_t* sums = target + pair_size + j * panel_columns;
        _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_load_si512(mixed + j * side)));
    }
}

void multiply(const int8_t* left, const int8_t* right, int64_t quads, int32_t* sums) {
    // GCC 12's tile loads do not tell that they read memory.
    asm volatile("" ::: "memory");
    for (int64_t j = 0; j < 2; ++j)
        for (int64_t i = 0; i < 2; ++i)
            multiply_square(left + j * quads / side * 2 * register_bytes, right + i * row_bytes, quads,
                            sums + j * side * panel_columns + i * side);
    asm volatile("" ::: "memory");
}

}  // namespace

const Products products_amx = {0, prepare, multiply, enter_tiles, leave_tiles};

}  // namespace lmscope::integer_gram
