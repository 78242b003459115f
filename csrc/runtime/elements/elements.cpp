#include "runtime/elements/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope::elements {
namespace {

constexpr int64_t rows_per_task = 16;

const Widen& widen() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return widen_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return widen_avx2;
#endif
    return widen_scalar;
}

void widen_contiguous(DType dtype, const void* source, int64_t count, double* target) {
    switch (dtype) {
        case DType::bfloat16:
            return widen().bfloat16(static_cast<const uint16_t*>(source), count, target);
        case DType::float16:
            return widen().float16(static_cast<const uint16_t*>(source), count, target);
        case DType::float32:
            return widen().float32(static_cast<const float*>(source), count, target);
        case DType::float64:
            std::memcpy(target, source, static_cast<size_t>(count) * sizeof(double));
    }
}

void widen_line(const MatrixView& matrix, const void* source, int64_t count, int64_t stride, double scale,
                double* target) {
    if (stride == 1) {
        widen_contiguous(matrix.dtype, source, count, target);
    } else {
        const auto* bytes = static_cast<const char*>(source);
        const int64_t step = stride * size_in_bytes(matrix.dtype);
        for (int64_t i = 0; i < count; ++i) widen_contiguous(matrix.dtype, bytes + i * step, 1, target + i);
    }
    if (scale != 1.0)
        for (int64_t i = 0; i < count; ++i) target[i] *= scale;
}

// The exponent field is all ones exactly for NaN and Inf.
template <typename Bits>
bool line_is_finite(const void* source, int64_t count, Bits exponent_mask) {
    Bits found = 0;
    for (int64_t i = 0; i < count; ++i) {
        Bits bits;
        std::memcpy(&bits, static_cast<const char*>(source) + i * static_cast<int64_t>(sizeof bits), sizeof bits);
        found |= static_cast<Bits>((bits & exponent_mask) == exponent_mask);
    }
    return found == 0;
}

bool line_is_finite(DType dtype, const void* source, int64_t count) {
    switch (dtype) {
        case DType::bfloat16:
            return line_is_finite<uint16_t>(source, count, 0x7f80);
        case DType::float16:
            return line_is_finite<uint16_t>(source, count, 0x7c00);
        case DType::float32:
            return line_is_finite<uint32_t>(source, count, 0x7f800000U);
        case DType::float64:
            return line_is_finite<uint64_t>(source, count, 0x7ff0000000000000ULL);
    }
    return true;
}

// Among the first `count` elements of a row; -1 where there is none.
int64_t first_non_finite(const MatrixView& matrix, int64_t row, int64_t count) {
    if (matrix.column_stride == 1 && line_is_finite(matrix.dtype, matrix.at(row, 0), count)) return -1;
    for (int64_t column = 0; column < count; ++column)
        if (!line_is_finite(matrix.dtype, matrix.at(row, column), 1)) return column;
    return -1;
}

std::string text_of(const MatrixView& matrix, int64_t row, int64_t column) {
    const std::string place = " at row " + std::to_string(row) + ", column " + std::to_string(column);
    if (matrix.dtype == DType::float64) {
        double value;
        std::memcpy(&value, matrix.at(row, column), sizeof value);
        return (std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf") + place;
    }
    const auto* bytes = static_cast<const unsigned char*>(matrix.at(row, column));
    uint32_t bits = 0;
    if (matrix.dtype == DType::float32)
        std::memcpy(&bits, bytes, 4);
    else
        bits = static_cast<uint32_t>(bytes[0] | bytes[1] << 8) << 16;
    const uint32_t mantissa = matrix.dtype == DType::float16 ? 0x03ff0000U : 0x007fffffU;
    return ((bits & mantissa) != 0 ? "NaN" : (bits >> 31) != 0 ? "-Inf" : "Inf") + place;
}

}  // namespace

void require_finite(const MatrixView& matrix, const char* argument) {
    // Column-major data is scanned along its columns; only the report then walks the rows.
    const bool by_columns = matrix.column_stride != 1 && matrix.row_stride == 1;
    const MatrixView lines = by_columns ? matrix.transposed() : matrix;
    bool finite = true;
    for (int64_t line = 0; line < lines.rows && finite; ++line)
        finite = first_non_finite(lines, line, lines.columns) < 0;
    if (finite) return;
    for (int64_t row = 0; row < matrix.rows; ++row) {
        const int64_t column = first_non_finite(matrix, row, matrix.columns);
        if (column >= 0)
            throw InvalidArgument(std::string(argument) + " has " + text_of(matrix, row, column) +
                                  "; all values must be finite");
    }
}

bool lower_is_finite(const MatrixView& matrix) {
    const bool down = matrix.row_stride == 1;
    for (int64_t i = 0; i < matrix.rows; ++i)
        if (down ? !line_is_finite(matrix.dtype, matrix.at(i, i), matrix.rows - i)
                 : first_non_finite(matrix, i, i + 1) >= 0)
            return false;
    return true;
}

std::string first_non_finite_of_lower(const MatrixView& matrix) {
    for (int64_t row = 0; row < matrix.rows; ++row)
        if (const int64_t column = first_non_finite(matrix, row, row + 1); column >= 0)
            return text_of(matrix, row, column);
    return "no infinite value";
}

bool is_zero(const MatrixView& matrix) {
    constexpr char zero[sizeof(double)] = {};
    const auto size = size_in_bytes(matrix.dtype);
    for (int64_t row = 0; row < matrix.rows; ++row)
        for (int64_t column = 0; column < matrix.columns; ++column) {
            char bytes[sizeof(double)];
            std::memcpy(bytes, matrix.at(row, column), static_cast<size_t>(size));
            // Little-endian: the sign is the top bit of the last byte.
            bytes[size - 1] = static_cast<char>(bytes[size - 1] & 0x7f);
            if (std::memcmp(bytes, zero, static_cast<size_t>(size)) != 0) return false;
        }
    return true;
}

int scale_exponent(double largest) {
    if (largest == 0) return 0;
    const int exponent = std::ilogb(largest);
    return std::abs(exponent) <= 200 ? 0 : std::clamp(exponent, -1000, 1000);
}

int scale_exponent(const MatrixView& matrix) {
    if (matrix.dtype != DType::float64) return 0;
    double largest = 0;
    const MatrixView lines = matrix.column_stride != 1 && matrix.row_stride == 1 ? matrix.transposed() : matrix;
    for (int64_t row = 0; row < lines.rows; ++row) {
        for (int64_t column = 0; column < lines.columns; ++column) {
            double value;
            std::memcpy(&value, lines.at(row, column), sizeof value);
            largest = std::max(largest, std::fabs(value));
        }
    }
    return scale_exponent(largest);
}

void widen_line(const MatrixView& matrix, int64_t row, int64_t column, int64_t count, bool down, double scale,
                double* target) {
    widen_line(matrix, matrix.at(row, column), count, down ? matrix.row_stride : matrix.column_stride, scale, target);
}

Chunk widen_rows(const MatrixView& matrix, int64_t first, int64_t rows, int exponent, double* target) {
    const double scale = std::ldexp(1.0, -exponent);
    const bool along_columns = matrix.row_stride == 1 && matrix.column_stride != 1;
    const int64_t lines = along_columns ? matrix.columns : rows;
    const int64_t length = along_columns ? rows : matrix.columns;
    parallel_for((lines + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
        const int64_t end = std::min(lines, (task + 1) * rows_per_task);
        for (int64_t line = task * rows_per_task; line < end; ++line) {
            const void* source = along_columns ? matrix.at(first, line) : matrix.at(first + line, 0);
            widen_line(matrix, source, length, along_columns ? 1 : matrix.column_stride, scale, target + line * length);
        }
    });
    return {target, rows, length, !along_columns};
}

void pack_rows(const MatrixView& matrix, int64_t first, int64_t rows, int exponent, int64_t height, double* target) {
    const double scale = std::ldexp(1.0, -exponent);
    const int64_t columns = matrix.columns;
    const int64_t panels = (columns + height - 1) / height;
    if (matrix.row_stride == 1 && matrix.column_stride != 1) {
        parallel_for(panels, [&](int64_t panel) {
            AlignedBuffer lines(rows);
            double* place = target + panel * height * rows;
            for (int64_t j = 0; j < height; ++j) {
                const int64_t column = panel * height + j;
                if (column < columns)
                    widen_line(matrix, matrix.at(first, column), rows, 1, scale, lines.data());
                else
                    std::fill_n(lines.data(), rows, 0.0);
                for (int64_t k = 0; k < rows; ++k) place[k * height + j] = lines[k];
            }
        });
        return;
    }
    parallel_for((rows + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
        AlignedBuffer line(panels * height);
        std::fill_n(line.data() + columns, panels * height - columns, 0.0);
        for (int64_t k = task * rows_per_task; k < std::min(rows, (task + 1) * rows_per_task); ++k) {
            widen_line(matrix, matrix.at(first + k, 0), columns, matrix.column_stride, scale, line.data());
            for (int64_t panel = 0; panel < panels; ++panel)
                std::copy_n(line.data() + panel * height, height, target + (panel * rows + k) * height);
        }
    });
}

int64_t chunk_rows(int64_t columns) {
    constexpr int64_t doubles = int64_t{1} << 21;
    return std::clamp<int64_t>(doubles / std::max<int64_t>(1, columns) / 64 * 64, 64, 4096);
}

}  // namespace lmscope::elements
