#include <cstring>

#include "runtime/elements/elements.h"

namespace lmscope::elements {
namespace {

// Mapped files need not align their elements.
template <typename Element>
Element load(const Element* source) {
    Element value;
    std::memcpy(&value, source, sizeof value);
    return value;
}

void bfloat16(const uint16_t* source, int64_t count, double* target) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = static_cast<uint32_t>(load(source + i)) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        target[i] = static_cast<double>(value);
    }
}

// Exponent and mantissa move to float32's places, whose exponent then is 112 too small; multiplying by 2^112 also
// normalises subnormals. Inf and NaN never get here.
void float16(const uint16_t* source, int64_t count, double* target) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t half = load(source + i);
        const uint32_t bits = (half & 0x8000U) << 16 | (half & 0x7fffU) << 13;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        target[i] = static_cast<double>(value) * 0x1p112;
    }
}

void float32(const float* source, int64_t count, double* target) {
    for (int64_t i = 0; i < count; ++i) target[i] = static_cast<double>(load(source + i));
}

}  // namespace

const Widen widen_scalar = {bfloat16, float16, float32};

}  // namespace lmscope::elements
