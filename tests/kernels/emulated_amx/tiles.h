// The tile instructions of AMX as Intel defines them (Software Developer's Manual, volume 2: LDTILECFG, TILELOADD,
// TDPBF16PS, TDPBSSD and so on), under the names of the intrinsics: for a source compiled with `-include tiles.h`. What
// the processor would answer with a fault throws.
#pragma once

#include <immintrin.h>

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace emulated_amx {

constexpr int registers = 8;
constexpr int most_rows = 16;
constexpr int most_bytes = 64;

struct Tiles {
    bool configured = false;
    int rows[registers] = {};
    int bytes[registers] = {};
    unsigned char data[registers][most_rows][most_bytes] = {};
};
// Of each thread.
inline thread_local Tiles tiles;

inline void require(bool holds, const char* fault) {
    if (!holds) throw std::logic_error(fault);
}

inline void load_configuration(const void* source) {
    unsigned char from[64];
    std::memcpy(from, source, sizeof from);
    require(from[0] == 1, "LDTILECFG: palette other than 1");
    for (int i = 1; i < 16; ++i) require(from[i] == 0, "LDTILECFG: start row or reserved byte is not zero");
    tiles = Tiles{};
    for (int tile = 0; tile < 16; ++tile) {
        uint16_t bytes;
        std::memcpy(&bytes, from + 16 + 2 * tile, sizeof bytes);
        const int rows = from[48 + tile];
        if (tile >= registers) {
            require(bytes == 0 && rows == 0, "LDTILECFG: configures a register that does not exist");
            continue;
        }
        require(bytes <= most_bytes && rows <= most_rows && (bytes == 0) == (rows == 0), "LDTILECFG: wrong shape");
        tiles.bytes[tile] = bytes;
        tiles.rows[tile] = rows;
    }
    tiles.configured = true;
}

inline void release() { tiles = Tiles{}; }

inline void require_usable(int tile) {
    require(tiles.configured, "a tile instruction without a configuration");
    require(tiles.rows[tile] > 0, "a tile register that is not configured");
}

inline void zero(int tile) {
    require_usable(tile);
    std::memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
}

inline void load(int tile, const void* base, int64_t stride) {
    zero(tile);
    for (int row = 0; row < tiles.rows[tile]; ++row)
        std::memcpy(tiles.data[tile][row], static_cast<const char*>(base) + row * stride,
                    static_cast<size_t>(tiles.bytes[tile]));
}

inline void store(int tile, void* base, int64_t stride) {
    require_usable(tile);
    for (int row = 0; row < tiles.rows[tile]; ++row)
        std::memcpy(static_cast<char*>(base) + row * stride, tiles.data[tile][row],
                    static_cast<size_t>(tiles.bytes[tile]));
}

// Subnormal numbers count as zero, read or written.
inline float flushed(float value) { return std::fabs(value) < FLT_MIN ? std::copysign(0.0F, value) : value; }

inline float bfloat16_at(int tile, int row, int index) {
    uint32_t bits = 0;
    std::memcpy(reinterpret_cast<char*>(&bits) + 2, &tiles.data[tile][row][2 * index], 2);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return flushed(value);
}

inline void require_product(int target, int a, int b, const char* fault_of_registers, const char* fault_of_shapes) {
    for (const int tile : {target, a, b}) require_usable(tile);
    require(target != a && target != b && a != b, fault_of_registers);
    require(tiles.rows[a] == tiles.rows[target] && tiles.bytes[b] == tiles.bytes[target] &&
                tiles.bytes[a] == 4 * tiles.rows[b],
            fault_of_shapes);
}

// Sums wrap, as unsigned numbers do.
inline void dot_product_int8(int target, int a, int b) {
    require_product(target, a, b, "TDPBSSD: one register twice", "TDPBSSD: shapes do not match");
    for (int row = 0; row < tiles.rows[target]; ++row)
        for (int column = 0; column < tiles.bytes[target] / 4; ++column) {
            uint32_t sum;
            std::memcpy(&sum, &tiles.data[target][row][4 * column], sizeof sum);
            for (int quad = 0; quad < tiles.rows[b]; ++quad)
                for (int k = 0; k < 4; ++k)
                    sum += static_cast<uint32_t>(static_cast<int8_t>(tiles.data[a][row][4 * quad + k]) *
                                                 static_cast<int8_t>(tiles.data[b][quad][4 * column + k]));
            std::memcpy(&tiles.data[target][row][4 * column], &sum, sizeof sum);
        }
}

// Even and odd products of a row are added up apart, each with one rounding to nearest; then both sums, and last their
// sum to the target.
inline void dot_product_bfloat16(int target, int a, int b) {
    require_product(target, a, b, "TDPBF16PS: one register twice", "TDPBF16PS: shapes do not match");
    const int columns = tiles.bytes[target] / 4;
    for (int row = 0; row < tiles.rows[target]; ++row) {
        float sums[2][most_bytes / 4] = {};
        for (int pair = 0; pair < tiles.rows[b]; ++pair)
            for (int column = 0; column < columns; ++column)
                for (int half = 0; half < 2; ++half) {
                    float& sum = sums[half][column];
                    sum = flushed(
                        std::fma(bfloat16_at(a, row, 2 * pair + half), bfloat16_at(b, pair, 2 * column + half), sum));
                }
        for (int column = 0; column < columns; ++column) {
            float value;
            std::memcpy(&value, &tiles.data[target][row][4 * column], sizeof value);
            value = flushed(flushed(value) + flushed(sums[0][column] + sums[1][column]));
            std::memcpy(&tiles.data[target][row][4 * column], &value, sizeof value);
        }
    }
}

}  // namespace emulated_amx

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig emulated_amx::load_configuration
#define _tile_release emulated_amx::release
#define _tile_zero emulated_amx::zero
#define _tile_loadd emulated_amx::load
#define _tile_stored emulated_amx::store
#define _tile_dpbf16ps emulated_amx::dot_product_bfloat16
#define _tile_dpbssd emulated_amx::dot_product_int8
