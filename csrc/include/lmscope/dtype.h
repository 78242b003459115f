#pragma once

#include <cstdint>

namespace lmscope {

enum class DType { float64, float32, float16, bfloat16 };

constexpr int64_t size_in_bytes(DType dtype) { return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2; }

}  // namespace lmscope
