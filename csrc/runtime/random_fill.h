#pragma once

#include <cstdint>

namespace lmscope {

// Uniform in [-1, 1), by position alone (SplitMix64), from position `first` on: every call gives the same numbers.
inline void fill_random(int64_t count, double* target, int64_t first = 0) {
    uint64_t state = 0x9e3779b97f4a7c15ULL * (static_cast<uint64_t>(first) + 1);
    for (int64_t i = 0; i < count; ++i) {
        uint64_t bits = (state += 0x9e3779b97f4a7c15ULL);
        bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ULL;
        bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebULL;
        bits ^= bits >> 31;
        target[i] = static_cast<double>(static_cast<int64_t>(bits)) * 0x1p-63;
    }
}

}  // namespace lmscope
