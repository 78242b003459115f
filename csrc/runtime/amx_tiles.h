// Included once by each AMX source; everything here has internal linkage, so that no two of them share code.
#include <immintrin.h>

#include <cstdint>

namespace lmscope {
namespace {

// Rows of a tile register, the bytes of each, and of all.
constexpr int side = 16;
constexpr int row_bytes = 64;
constexpr int register_bytes = side * row_bytes;

// What LDTILECFG reads: eight registers of 16 rows of 64 bytes. A constant, as GCC 12 takes the instruction to read no
// more than its first eight bytes.
struct alignas(64) Configuration {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Configuration) == 64);
const Configuration configuration;

// The process has the kernel's permission once the level is active.
inline void enter_tiles() { _tile_loadconfig(&configuration); }
inline void leave_tiles() { _tile_release(); }

}  // namespace
}  // namespace lmscope
