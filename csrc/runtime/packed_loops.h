// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code.
#include <cstdint>
#include <cstring>

namespace lmscope {
namespace {

// Vector types of GCC and Clang.
#if defined(__AVX512F__)
constexpr int lanes = 8;
#else
constexpr int lanes = 4;
#endif
typedef double Numbers __attribute__((vector_size(lanes * sizeof(double))));

inline Numbers load(const double* source) {
    Numbers value;
    std::memcpy(&value, source, sizeof value);
    return value;
}
inline void store(Numbers value, double* target) { std::memcpy(target, &value, sizeof value); }

// Packed factors stand in panels of this many rows, vector by vector. A block of three vectors of rows by as many
// columns as a vector has lanes, 24 sums of 32 registers (12 of 16), covers what a multiply-add waits for.
constexpr int panel_rows = 3 * lanes;
using Sums = Numbers[lanes][3];

// sums += L R^T: `depth` vectors of a panel's rows on the left, of some of a panel's rows on the right.
[[gnu::always_inline]] inline void add_products(const double* left, const double* right, int64_t depth, Sums& sums) {
    for (int64_t k = 0; k < depth; ++k) {
        Numbers rows[3];
#pragma GCC unroll 3
        for (int r = 0; r < 3; ++r) rows[r] = load(left + k * panel_rows + r * lanes);
#pragma GCC unroll 8
        for (int c = 0; c < lanes; ++c) {
            const double entry = right[k * panel_rows + c];
#pragma GCC unroll 3
            for (int r = 0; r < 3; ++r) sums[c][r] += entry * rows[r];
        }
    }
}

// The stores of a block wait for its lines, which come from farther away while the products are summed.
[[gnu::always_inline]] inline void fetch_block(double* target, int64_t stride) {
    constexpr int cache_line = 8;
    for (int c = 0; c < lanes; ++c)
        for (int r = 0; r < panel_rows; r += cache_line) __builtin_prefetch(target + c * stride + r, 1);
}

}  // namespace
}  // namespace lmscope
