#include "randomized_nulls/products_loops.h"

namespace lmscope::nulls {
namespace {

// Four lanes of whatever the baseline of the compiler's target offers.
struct Four {
    using Value = float __attribute__((vector_size(16)));
    using Bits = uint32_t __attribute__((vector_size(16)));
    static constexpr int width = 4;
    static Value load(const float* source) {
        Value value;
        __builtin_memcpy(&value, source, sizeof value);
        return value;
    }
    static void store(float* target, Value value) { __builtin_memcpy(target, &value, sizeof value); }
    static Value broadcast(float value) { return Value{value, value, value, value}; }
    static Value fma(Value a, Value b, Value c) { return a * b + c; }
    static float sum(Value value) { return (value[0] + value[1]) + (value[2] + value[3]); }
    static Value flip(Value value, uint64_t word, int place) {
        const auto bits = static_cast<uint32_t>(word >> (place * width));
        const Bits signs = (Bits{bits << 31, bits << 30, bits << 29, bits << 28}) & 0x80000000U;
        return reinterpret_cast<Value>(reinterpret_cast<Bits>(value) ^ signs);
    }
};

// As in csrc/singular_values/scalar.cpp: the product with 2^112 sets the exponent right and normalises subnormals.
void narrow_float16(const uint16_t* source, int64_t count, float* target) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t half = source[i];
        const uint32_t bits = (half & 0x8000U) << 16 | (half & 0x7fffU) << 13;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        target[i] = value * 0x1p112F;
    }
}

}  // namespace

const Products products_scalar = {narrow<narrow_float16>, accumulate<Four>};

}  // namespace lmscope::nulls
