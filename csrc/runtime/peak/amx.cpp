#include "runtime/amx_tiles.h"
#include "runtime/peak/peak.h"

namespace lmscope::peak {
namespace {

constexpr int chains = 6;

// Six sums and two operands: all eight tiles.
float run(int64_t steps) {
    enter_tiles();
    // 0x3F80 is 1.0 in bfloat16.
    alignas(64) uint16_t ones[register_bytes / 2];
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
    alignas(64) float sums[register_bytes / 4];
    _tile_stored(0, sums, row_bytes);
    leave_tiles();
    return sums[0];
}

}  // namespace

// A tile product: 16 x 16 sums of 32 products.
const Loop bfloat16_amx = {2.0 * chains * side * side * 32, run};

}  // namespace lmscope::peak
