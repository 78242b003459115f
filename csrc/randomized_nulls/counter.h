#pragma once

#include <cstdint>

// Counter-based random words: any word is computed from its place alone (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014: the SplitMix64 finaliser over a Weyl sequence). Bit `column % 64` of
// word(line_key(draw_key(seed, draw), row), column / 64) is the sign of entry (row, column).
namespace lmscope::counter {
namespace {

constexpr uint64_t golden = 0x9e3779b97f4a7c15ULL;

inline uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

[[maybe_unused]] inline uint64_t draw_key(uint64_t seed, uint64_t draw) {
    return mix(mix(seed + golden) + (draw + 1) * golden);
}

[[maybe_unused]] inline uint64_t line_key(uint64_t key, uint64_t line) { return mix(key + (line + 1) * golden); }

inline uint64_t word(uint64_t key, uint64_t index) { return mix(key + (index + 1) * golden); }

}  // namespace
}  // namespace lmscope::counter
