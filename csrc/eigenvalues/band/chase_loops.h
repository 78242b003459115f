// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code.
#include <cstdint>
#include <cstring>

#include "eigenvalues/band/chase.h"

namespace lmscope::eigenvalues {
namespace {

#if defined(__AVX512F__)
constexpr int lanes = 8;
constexpr int most_sums = 24;
#elif defined(__AVX2__)
constexpr int lanes = 4;
constexpr int most_sums = 13;
#else
constexpr int lanes = 2;
constexpr int most_sums = 12;
#endif
using Numbers = double __attribute__((vector_size(lanes * sizeof(double)), may_alias));
using Bits = int64_t __attribute__((vector_size(lanes * sizeof(double))));

constexpr int width = band_width;
static_assert(width % lanes == 0);

// Squares of entries below 1e-140 of the largest, which is about 1, are not told apart from zero.
constexpr double negligible_square = 1e-280;

Numbers everywhere(double value) { return value - Numbers{}; }

Numbers select(Bits mask, Numbers value) { return (Numbers)((Bits)value & mask); }

// In every lane, always in the same order.
Numbers sum_of_lanes(Numbers x) {
#if defined(__AVX512F__)
    x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
    x += __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
#elif defined(__AVX2__)
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1);
    x += __builtin_shufflevector(x, x, 1, 0, 3, 2);
#else
    x += __builtin_shufflevector(x, x, 1, 0);
#endif
    return x;
}

// The rows of a block as vectors that begin at multiples of the lanes: one more vector than the rows fill, whose
// entries outside the block are never changed. Vectors on the rows' own beginnings would all cross cache lines.
// Loops over them are unrolled by pragma: GCC leaves those of more than 16 turns rolled, and their arrays in
// memory.
struct Rows {
    static constexpr int count = width / lanes + 1;
    using Column = Numbers[count];

    explicit Rows(int64_t first) : offset(first % lanes), top(first - offset) {
        for (int l = 0; l < lanes; ++l) lane[l] = l;
        first_row = lane == offset;
        upper = lane >= offset;
    }

    static void load(const double* source, Column& target) {
#pragma GCC unroll 64
        for (int p = 0; p < count; ++p) target[p] = reinterpret_cast<const Numbers*>(source)[p];
    }
    static void store(const Column& source, double* target) {
#pragma GCC unroll 64
        for (int p = 0; p < count; ++p) reinterpret_cast<Numbers*>(target)[p] = source[p];
    }
    void clear_outside(Column& x) const {
        x[0] = select(upper, x[0]);
        x[count - 1] = select(~upper, x[count - 1]);
    }
    static Numbers dot(const Column& x, const Column& y) {
        constexpr int chains = count < 4 ? count : 4;
        Numbers sums[chains];
#pragma GCC unroll 64
        for (int p = 0; p < chains; ++p) sums[p] = x[p] * y[p];
#pragma GCC unroll 64
        for (int p = chains; p < count; ++p) sums[p % chains] += x[p] * y[p];
#pragma GCC unroll 64
        for (int p = 1; p < chains; ++p) sums[0] += sums[p];
        return sum_of_lanes(sums[0]);
    }
    // A block's columns times x, zero outside its rows; as many of its vectors at a time as stay in registers.
    void multiply(const double* block, int64_t stride, const double* x, Column& product) const {
        constexpr int strips = (count + most_sums - 1) / most_sums;
        constexpr int wide = (count + strips - 1) / strips;
#pragma GCC unroll 64
        for (int p = 0; p + wide <= count; p += wide) multiply_strip<wide>(block, stride, x, p, product);
        if constexpr (constexpr int rest = count % wide; rest > 0)
            multiply_strip<rest>(block, stride, x, count - rest, product);
        clear_outside(product);
    }

    int64_t offset;
    int64_t top;
    Bits lane;
    Bits first_row;
    Bits upper;

private:
    template <int strip>
    static void multiply_strip(const double* block, int64_t stride, const double* x, int first, Column& product) {
        Numbers sums[strip] = {};
        for (int j = 0; j < width; ++j) {
            const Numbers factor = everywhere(x[j]);
            const auto* column = reinterpret_cast<const Numbers*>(block + j * stride) + first;
#pragma GCC unroll 64
            for (int p = 0; p < strip; ++p) sums[p] += column[p] * factor;
        }
#pragma GCC unroll 64
        for (int p = 0; p < strip; ++p) product[first + p] = sums[p];
    }
};

// x becomes v of the reflector that maps it to (result, 0, ...).
double make_reflector(const Rows& rows, Rows::Column& x, double& result) {
    const double head = sum_of_lanes(select(rows.first_row, x[0]))[0];
    x[0] = select(~rows.first_row, x[0]);
    const double square = Rows::dot(x, x)[0];
    const Numbers one = select(rows.first_row, everywhere(1.0));
    if (square < negligible_square) {
        for (Numbers& part : x) part = Numbers{};
        x[0] = one;
        result = head;
        return 0;
    }
    const double norm = __builtin_sqrt(head * head + square);
    result = head > 0 ? -norm : norm;
    const Numbers factor = everywhere(1 / (head - result));
    for (Numbers& part : x) part *= factor;
    // From v as it was rounded: reflectors less orthogonal than that add up, where a block is near a multiple of the
    // identity and every one of them moves it.
    const double scale = 2 / (1 + Rows::dot(x, x)[0]);
    x[0] += one;
    return scale;
}

// The lower triangle of a diagonal block, in parts: the columns whose diagonal lies in vector `part` of the rows.
template <int part>
struct DiagonalPart {
    explicit DiagonalPart(const Rows& rows)
        : begin(part == 0 ? 0 : part * lanes - rows.offset),
          end(part == Rows::count - 1 ? width : (part + 1) * lanes - rows.offset) {}

    int64_t begin;
    int64_t end;
};

// Adds the block times v to `below`, rows of the product that come from entries below the diagonal and on it, and to
// `beside`, those from their mirror images.
template <int part = 0>
void multiply_diagonal(const Rows& rows, const double* block, int64_t stride, const double* factors,
                       const Rows::Column& v, Rows::Column& below, double* beside) {
    const DiagonalPart<part> columns(rows);
    for (int64_t j = columns.begin; j < columns.end; ++j) {
        const auto* column = reinterpret_cast<const Numbers*>(block + j * stride);
        const int64_t diagonal = rows.offset + j - part * lanes;
        const Numbers factor = everywhere(factors[j]);
        below[part] += select(rows.lane >= diagonal, column[part]) * factor;
        Numbers sums[2] = {select(rows.lane > diagonal, column[part]) * v[part], Numbers{}};
#pragma GCC unroll 64
        for (int p = part + 1; p < rows.count; ++p) {
            below[p] += column[p] * factor;
            sums[p % 2] += column[p] * v[p];
        }
        beside[rows.offset + j] = sum_of_lanes(sums[0] + sums[1])[0];
    }
    if constexpr (part + 1 < Rows::count) multiply_diagonal<part + 1>(rows, block, stride, factors, v, below, beside);
}

template <int part = 0>
void update_diagonal(const Rows& rows, double* block, int64_t stride, const double* v_factors, const double* w_factors,
                     const Rows::Column& v, const Rows::Column& w) {
    const DiagonalPart<part> columns(rows);
    for (int64_t j = columns.begin; j < columns.end; ++j) {
        const Numbers by_v = everywhere(w_factors[j]);
        const Numbers by_w = everywhere(v_factors[j]);
        auto* column = reinterpret_cast<Numbers*>(block + j * stride);
#pragma GCC unroll 64
        for (int p = part; p < rows.count; ++p) column[p] = column[p] - v[p] * by_v - w[p] * by_w;
    }
    if constexpr (part + 1 < Rows::count) update_diagonal<part + 1>(rows, block, stride, v_factors, w_factors, v, w);
}

void reflect_diagonal(const Rows& rows, double* matrix, int64_t stride, int64_t first,
                      const Rows::Column& reflector_rows, const Reflector& reflector) {
    using Column = Rows::Column;
    Column v;
#pragma GCC unroll 64
    for (int p = 0; p < rows.count; ++p) v[p] = reflector_rows[p];
    double* block = matrix + rows.top + first * stride;
    const double* factors = reflector.v + rows.offset;
    Column w{};
    alignas(64) double scratch[width + lanes] = {};
    multiply_diagonal(rows, block, stride, factors, v, w, scratch);
    Column beside;
    Rows::load(scratch, beside);
    const Numbers scale = everywhere(reflector.scale);
#pragma GCC unroll 64
    for (int p = 0; p < rows.count; ++p) w[p] = scale * (w[p] + beside[p]);
    rows.clear_outside(w);
    const Numbers shift = 0.5 * scale * Rows::dot(w, v);
#pragma GCC unroll 64
    for (int p = 0; p < rows.count; ++p) w[p] -= shift * v[p];
    Rows::store(w, scratch);
    update_diagonal(rows, block, stride, factors, scratch + rows.offset, v, w);
}

void start(double* matrix, int64_t stride, int64_t first, Reflector* reflector) {
    const Rows rows(first);
    double* column = matrix + (first - 1) * stride;
    Rows::Column v;
    Rows::load(column + rows.top, v);
    rows.clear_outside(v);
    reflector->scale = make_reflector(rows, v, column[first]);
    Rows::store(v, reflector->v);
    reflect_diagonal(rows, matrix, stride, first, v, *reflector);
}

void next(double* matrix, int64_t stride, int64_t first, Reflector* reflector) {
    const Rows rows(first);
    double* block = matrix + rows.top + (first - width) * stride;
    const double* factors = reflector->v + rows.offset;
    Rows::Column w;
    rows.multiply(block, stride, factors, w);
    for (Numbers& part : w) part *= reflector->scale;

    Rows::Column v;
    Rows::load(block, v);
    Rows::Column annihilated{};
    annihilated[0] = select(~rows.upper, v[0]);
    annihilated[rows.count - 1] = select(rows.upper, v[rows.count - 1]);
#pragma GCC unroll 64
    for (int p = 0; p < rows.count; ++p) v[p] -= w[p] * factors[0];
    rows.clear_outside(v);
    double head;
    const double scale = make_reflector(rows, v, head);
    Rows::store(annihilated, block);
    block[rows.offset] = head;

    for (int j = 1; j < width; ++j) {
        const Numbers factor = everywhere(factors[j]);
        double* column = block + j * stride;
        Rows::Column x;
        Rows::load(column, x);
#pragma GCC unroll 64
        for (int p = 0; p < rows.count; ++p) x[p] -= w[p] * factor;
        const Numbers share = scale * Rows::dot(x, v);
#pragma GCC unroll 64
        for (int p = 0; p < rows.count; ++p) x[p] -= share * v[p];
        Rows::store(x, column);
    }
    Rows::store(v, reflector->v);
    reflector->scale = scale;
    reflect_diagonal(rows, matrix, stride, first, v, *reflector);
}

}  // namespace
}  // namespace lmscope::eigenvalues
