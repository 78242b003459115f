#pragma once

#include <cstdint>

#include "lmscope/dtype.h"

namespace lmscope {

enum class Device { cpu, cuda };

// A borrowed matrix; strides count elements and may be zero or negative. The owner outlives the view.
struct MatrixView {
    const void* data = nullptr;
    DType dtype = DType::float64;
    int64_t rows = 0;
    int64_t columns = 0;
    int64_t row_stride = 0;
    int64_t column_stride = 0;
    Device device = Device::cpu;
    int device_index = 0;

    MatrixView transposed() const {
        return {data, dtype, columns, rows, column_stride, row_stride, device, device_index};
    }

    const void* at(int64_t row, int64_t column) const {
        return static_cast<const char*>(data) + (row * row_stride + column * column_stride) * size_in_bytes(dtype);
    }
};

// Matrices of one shape, `stride` elements apart.
struct MatrixStack {
    MatrixView first;
    int64_t count = 1;
    int64_t stride = 0;

    MatrixView operator[](int64_t index) const {
        MatrixView matrix = first;
        matrix.data = static_cast<const char*>(first.data) + index * stride * size_in_bytes(first.dtype);
        return matrix;
    }
};

}  // namespace lmscope
