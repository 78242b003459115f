#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <string>
#include <type_traits>

#include "column_cosine/packed.h"
#include "lmscope/column_cosine.h"
#include "lmscope/error.h"
#include "runtime/elements/elements.h"
#include "runtime/subnormals.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace cosine {
namespace {

// A block is read in runs of 256 bytes or more where rows are contiguous, and stays in a second-level cache.
constexpr int64_t block_columns = 128;
constexpr int64_t block_depth = 64;
constexpr int64_t rows_per_task = 64;

// Elements as numbers: every dtype but float64 widens to float32 exactly.
struct Bfloat16 {
    using Element = uint16_t;
    using Number = float;
    static float number(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};
struct Float16 {
    using Element = uint16_t;
    using Number = float;
    // 2^112 sets the exponent right, normalises subnormals, and leaves Inf and NaN at 2^16 and above.
    static float number(uint16_t bits) {
        const uint32_t half = bits;
        return std::bit_cast<float>((half & 0x8000U) << 16 | (half & 0x7fffU) << 13) * 0x1p112F;
    }
};
struct Float32 {
    using Element = float;
    using Number = float;
    static float number(float value) { return value; }
};
struct Float64 {
    using Element = double;
    using Number = double;
    static double number(double value) { return value; }
};

// Numbers of a block: block_depth rows of block_columns.
template <typename Number>
using Block = std::array<Number, static_cast<size_t>(block_depth* block_columns)>;

template <typename Type>
void read_block(const MatrixView& matrix, int64_t first, int64_t depths, const int64_t* which, int64_t count,
                Block<typename Type::Number>& block) {
    using Element = typename Type::Element;
    const auto number_at = [&](const char* place) {
        Element element;
        std::memcpy(&element, place, sizeof element);
        return Type::number(element);
    };
    const auto along = [&](int64_t stride) { return stride * static_cast<int64_t>(sizeof(Element)); };
    if (matrix.row_stride == 1) {
        for (int64_t column = 0; column < count; ++column) {
            const char* from = static_cast<const char*>(matrix.at(first, which[column]));
            for (int64_t d = 0; d < depths; ++d)
                block[static_cast<size_t>(d * block_columns + column)] = number_at(from + along(d));
        }
    } else {
        for (int64_t d = 0; d < depths; ++d) {
            const char* from = static_cast<const char*>(matrix.at(first + d, 0));
            for (int64_t column = 0; column < count; ++column)
                block[static_cast<size_t>(d * block_columns + column)] =
                    number_at(from + along(which[column] * matrix.column_stride));
        }
    }
}

template <Stored stored, typename Number>
void write_group(const Number* source, int64_t depths, char* target) {
    if constexpr (stored == Stored::bfloat16) {
        for (int64_t d = 0; d < depths; d += 2) {
            uint32_t pairs[group];
            for (int64_t i = 0; i < group; ++i)
                pairs[i] = std::bit_cast<uint32_t>(source[d * block_columns + i]) >> 16 |
                           (std::bit_cast<uint32_t>(source[(d + 1) * block_columns + i]) & 0xffff0000U);
            std::memcpy(target + d / 2 * static_cast<int64_t>(sizeof pairs), pairs, sizeof pairs);
        }
    } else {
        for (int64_t d = 0; d < depths; ++d)
            std::memcpy(target + d * group * bytes_of(stored), source + d * block_columns,
                        static_cast<size_t>(group * bytes_of(stored)));
    }
}

// Largest magnitudes of a slab of rows, column by column.
template <typename Type>
void raise_maxima(const MatrixView& matrix, int64_t first, int64_t rows, typename Type::Number* maxima) {
    using Number = typename Type::Number;
    const auto raise = [](Number& best, const char* place) {
        typename Type::Element element;
        std::memcpy(&element, place, sizeof element);
        const Number size = std::fabs(Type::number(element));
        // Once NaN, always NaN.
        best = size > best || size != size ? size : best;
    };
    constexpr auto bytes = static_cast<int64_t>(sizeof(typename Type::Element));
    if (matrix.row_stride == 1) {
        for (int64_t column = 0; column < matrix.columns; ++column) {
            const char* from = static_cast<const char*>(matrix.at(first, column));
            Number best = maxima[column];
            for (int64_t row = 0; row < rows; ++row) raise(best, from + row * bytes);
            maxima[column] = best;
        }
    } else {
        const int64_t stride = matrix.column_stride * bytes;
        for (int64_t row = 0; row < rows; ++row) {
            const char* from = static_cast<const char*>(matrix.at(first + row, 0));
            if (stride == bytes)
                for (int64_t column = 0; column < matrix.columns; ++column)
                    raise(maxima[column], from + column * bytes);
            else
                for (int64_t column = 0; column < matrix.columns; ++column)
                    raise(maxima[column], from + column * stride);
        }
    }
}

template <typename Type>
std::vector<typename Type::Number> column_maxima(const MatrixView& matrix) {
    using Number = typename Type::Number;
    std::vector<Number> maxima(static_cast<size_t>(matrix.columns), Number{0});
    const int64_t rows = matrix.row_stride == 1 ? std::max<int64_t>(rows_per_task, matrix.rows / 64) : rows_per_task;
    std::mutex mutex;
    parallel_for((matrix.rows + rows - 1) / rows, [&](int64_t task) {
        std::vector<Number> own(maxima.size(), Number{0});
        raise_maxima<Type>(matrix, task * rows, std::min(rows, matrix.rows - task * rows), own.data());
        const std::lock_guard lock(mutex);
        for (size_t i = 0; i < own.size(); ++i) maxima[i] = own[i] > maxima[i] || own[i] != own[i] ? own[i] : maxima[i];
    });
    return maxima;
}

// Columns block_columns * task onwards of the packed ones, and their squared norms, whose order of additions is that of
// float64_products. `exponents`: what each is divided by, as a power of two.
template <typename Type, Stored stored>
void pack_block(const MatrixView& matrix, Packed& packed, const int* exponents, int64_t task) {
    using Number = typename Type::Number;
    const int64_t first = task * block_columns;
    const int64_t count = std::min(block_columns, packed.count() - first);
    const int64_t width = std::min(block_columns, packed.padded_count() - first);
    auto block = std::make_unique<Block<Number>>();
    block->fill(0);
    // Two factors, as 2^-exponent alone may overflow.
    std::array<Number, block_columns> half{};
    std::array<Number, block_columns> other_half{};
    for (int64_t i = 0; i < count; ++i) {
        const int exponent = -exponents[packed.kept[static_cast<size_t>(first + i)]];
        half[static_cast<size_t>(i)] = std::ldexp(Number{1}, exponent / 2);
        other_half[static_cast<size_t>(i)] = std::ldexp(Number{1}, exponent - exponent / 2);
    }
    std::array<std::array<double, block_columns>, 4> squares{};
    for (int64_t depth = 0; depth < packed.padded_depth; depth += block_depth) {
        const int64_t depths = std::min(block_depth, packed.depth - depth);
        if (depths < block_depth) block->fill(0);
        read_block<Type>(matrix, depth, depths, packed.kept.data() + first, count, *block);
        for (int64_t d = 0; d < depths; ++d) {
            Number* row = block->data() + d * block_columns;
            auto& sums = squares[static_cast<size_t>(d % 4)];
            for (size_t i = 0; i < block_columns; ++i) {
                row[i] = row[i] * half[i] * other_half[i];
                sums[i] += static_cast<double>(row[i]) * static_cast<double>(row[i]);
            }
        }
        const int64_t written = std::min(block_depth, packed.padded_depth - depth);
        for (int64_t part = 0; part < width / group; ++part)
            write_group<stored>(
                block->data() + part * group, written,
                const_cast<char*>(packed.group_at(first / group + part)) + depth * group * bytes_of(stored));
    }
    for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(i);
        packed.squared_norms[static_cast<size_t>(first + i)] =
            (squares[0][at] + squares[1][at]) + (squares[2][at] + squares[3][at]);
    }
}

template <typename Type, Stored stored>
std::shared_ptr<const Packed> pack(const MatrixView& matrix, const char* argument) {
    auto packed = std::make_shared<Packed>();
    packed->stored = stored;
    packed->depth = matrix.rows;
    packed->padded_depth = (matrix.rows + depth_padding - 1) / depth_padding * depth_padding;
    packed->columns = matrix.columns;

    const auto maxima = column_maxima<Type>(matrix);
    constexpr double beyond = std::is_same_v<Type, Float16> ? 65536.0 : std::numeric_limits<double>::infinity();
    std::vector<int> exponents(maxima.size());
    for (size_t column = 0; column < maxima.size(); ++column) {
        const auto largest = static_cast<double>(maxima[column]);
        if (!(largest < beyond)) elements::require_finite(matrix, argument);
        if (largest == 0) continue;
        exponents[column] = std::ilogb(largest);
        packed->kept.push_back(static_cast<int64_t>(column));
    }
    packed->elements = AlignedBuffer(packed->elements_in_doubles());
    const auto padded = static_cast<size_t>(packed->padded_count());
    packed->squared_norms.assign(padded, 0.0);
    parallel_for((packed->count() + block_columns - 1) / block_columns,
                 [&](int64_t task) { pack_block<Type, stored>(matrix, *packed, exponents.data(), task); });
    packed->inverse_norms.assign(padded, 0.0);
    for (size_t i = 0; i < packed->kept.size(); ++i)
        packed->inverse_norms[i] = 1.0 / std::sqrt(packed->squared_norms[i]);
    return packed;
}

std::shared_ptr<const Packed> pack(const MatrixView& matrix, const char* argument) {
    switch (matrix.dtype) {
        case DType::bfloat16:
            return pack<Bfloat16, Stored::bfloat16>(matrix, argument);
        case DType::float16:
            return pack<Float16, Stored::float32>(matrix, argument);
        case DType::float32:
            return pack<Float32, Stored::float32>(matrix, argument);
        case DType::float64:
            break;
    }
    return pack<Float64, Stored::float64>(matrix, argument);
}

}  // namespace
}  // namespace cosine

PackedColumns::PackedColumns(const MatrixView& matrix, const char* argument) {
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument(std::string(argument) + " has shape (" + std::to_string(matrix.rows) + ", " +
                              std::to_string(matrix.columns) + "); it needs at least one row and one column");
    if (matrix.device == Device::cuda)
        throw UnsupportedDType(std::string(argument) +
                               " is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
    const KeepSubnormals keep_subnormals;
    packed_ = cosine::pack(matrix, argument);
}

PackedColumns PackedColumns::with_signs(const uint8_t* negative) const {
    auto turned = std::make_shared<cosine::Packed>(packed_->without_elements());
    cosine::copy_with_signs(*packed_, negative, *turned);
    return PackedColumns(std::move(turned));
}

PackedColumns PackedColumns::with_entry_signs(const uint8_t* negative) const {
    auto turned = std::make_shared<cosine::Packed>(packed_->without_elements());
    cosine::copy_with_entry_signs(*packed_, negative, *turned);
    return PackedColumns(std::move(turned));
}

int64_t PackedColumns::depth() const { return packed_->depth; }
int64_t PackedColumns::columns() const { return packed_->columns; }
int64_t PackedColumns::bytes() const {
    return packed_->padded_count() * (packed_->padded_depth * bytes_of(packed_->stored) + 24);
}

std::vector<int64_t> PackedColumns::zero_columns() const {
    std::vector<int64_t> found;
    size_t next = 0;
    for (int64_t column = 0; column < packed_->columns; ++column)
        if (next < packed_->kept.size() && packed_->kept[next] == column)
            ++next;
        else
            found.push_back(column);
    return found;
}

}  // namespace lmscope
