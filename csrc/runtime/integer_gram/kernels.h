#pragma once

#include "runtime/integer_gram/layout.h"

namespace lmscope::integer_gram {

// What one call of `split` reads and writes: `rows` (a multiple of four) rows of one panel.
struct Strip {
    const uint16_t* source;  // 32 elements of every row, rows `source_stride` elements apart
    int64_t source_stride;
    int64_t rows;
    const int16_t* units;  // of each column, the exponent of an element whose last bit is worth one unit
    int8_t* digits;
    uint16_t* elements;   // [row][column], a copy
    uint32_t* leftovers;  // of each row, the columns whose element is left over
    int32_t* high_sums;   // of each column, added to
    int32_t* low_sums;
};

// One block of the result: the sums of panel i (rows) and panel j (columns), [weight][j][i].
struct Block {
    const int32_t* sums;
    const int32_t* high_sums;  // of the columns of panel i
    const int32_t* low_sums;
    int32_t offset;
    const double* unit_i;
    const double* unit_j;
    const double* rest;  // [j][i]
    int64_t height;
    int64_t width;
    bool lower;  // rows above the diagonal are left out
};

// What differs between the two types of elements.
struct Elements {
    Format format;
    void (*split)(const Strip& strip);
    // sums[32] = the leftovers of one column times the rows of a panel, whose own leftovers count as zero unless
    // `masks` is null.
    void (*rest)(const Leftover* leftovers, int64_t count, const uint16_t* elements, const uint32_t* masks,
                 double* sums);
};

struct Splitting {
    Elements bfloat16;
    Elements float16;
    // target[i + j * stride] += the block.
    void (*finish)(const Block& block, double* target, int64_t stride);
};
extern const Splitting splitting_avx512;

// Exact products of digits: all targets give the same integers.
struct Products {
    // Added to every digit of the left side, where the instruction wants it unsigned.
    int32_t offset;
    // 32 columns in the layout of the left side, of the same size.
    void (*prepare)(const int8_t* digits, int64_t quads, int8_t* left);
    // sums[weight][j][i] += left column j times right column i; quads is a multiple of 16.
    void (*multiply)(const int8_t* left, const int8_t* right, int64_t quads, int32_t* sums);
    // Run by every thread around its calls of multiply; null where there is nothing to do.
    void (*enter)();
    void (*leave)();
};
extern const Products products_avx512_bf16;
extern const Products products_amx;

}  // namespace lmscope::integer_gram
