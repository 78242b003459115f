#include <immintrin.h>

#include "runtime/peak/peak.h"

namespace lmscope::peak {
namespace {

constexpr int rows = 16;
constexpr int row_bytes = 64;
constexpr int chains = 6;

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes_of_a_row[16] = {};
    uint8_t rows_of[16] = {};
};

// Six sums and two operands: all eight tiles. The process has the kernel's permission once the level is active.
float run(int64_t steps) {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
        config.bytes_of_a_row[tile] = row_bytes;
        config.rows_of[tile] = rows;
    }
    _tile_loadconfig(&config);
    // 0x3F80 is 1.0 in bfloat16.
    alignas(64) uint16_t ones[rows * row_bytes / 2];
    for (uint16_t& one : ones) one = 0x3F80;
    _tile_loadd(6, ones, row_bytes);
    _tile_loadd(7, ones, row_bytes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t step = 0; step < steps; ++step) {
        _tile_dpbf16ps(0, 6, 7);
        _tile_dpbf16ps(1, 6, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_dpbf16ps(3, 6, 7);
        _tile_dpbf16ps(4, 6, 7);
        _tile_dpbf16ps(5, 6, 7);
    }
    alignas(64) float sums[rows * row_bytes / 4];
    _tile_stored(0, sums, row_bytes);
    _tile_release();
    return sums[0];
}

}  // namespace

// A tile product: 16 x 16 sums of 32 products.
const Loop bfloat16_amx = {2.0 * chains * rows * rows * 32, run};

}  // namespace lmscope::peak
