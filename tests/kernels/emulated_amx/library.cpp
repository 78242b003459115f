// The kernel family column_cosine at the level amx, on emulated tiles: a shared library for test_emulated_amx.py.
#include <algorithm>
#include <exception>
#include <string>

#include "lmscope/column_cosine.h"
#include "lmscope/context.h"
#include "lmscope/isa.h"

namespace lmscope {
Isa active_isa() { return Isa::amx; }
}  // namespace lmscope

namespace {

// Row-major.
struct Matrix {
    const uint16_t* bfloat16;
    int64_t depth;
    int64_t columns;
};

lmscope::PackedColumns packed(const Matrix& matrix, const char* argument) {
    return {{matrix.bfloat16, lmscope::DType::bfloat16, matrix.depth, matrix.columns, matrix.columns, 1}, argument};
}

}  // namespace

extern "C" {

// Null, or what went wrong. `y` is null where x is compared with itself; the maxima have an entry per column.
const char* compare(const Matrix* x, const Matrix* y, int64_t bins, int64_t threads, int64_t* counts, double* max_abs_x,
                    double* max_abs_y, int64_t* argmax_x, int64_t* argmax_y) {
    static thread_local std::string problem;
    try {
        lmscope::set_num_threads(static_cast<int>(threads));
        const lmscope::PackedColumns of_x = packed(*x, "x");
        const lmscope::ColumnCosine found =
            y == nullptr ? lmscope::column_cosine(of_x, bins) : lmscope::column_cosine(of_x, packed(*y, "y"), bins);
        std::copy(found.counts.begin(), found.counts.end(), counts);
        std::copy(found.max_abs_x.begin(), found.max_abs_x.end(), max_abs_x);
        std::copy(found.max_abs_y.begin(), found.max_abs_y.end(), max_abs_y);
        std::copy(found.argmax_x.begin(), found.argmax_x.end(), argmax_x);
        std::copy(found.argmax_y.begin(), found.argmax_y.end(), argmax_y);
        emulated_amx::require(!emulated_amx::tiles.configured, "the tiles were not released");
        return nullptr;
    } catch (const std::exception& error) {
        problem = error.what();
        return problem.c_str();
    }
}

// One instruction: target, 16 x 16 float32, += a b.
void dot_product(const void* a, const void* b, float* target) {
    const struct {
        uint8_t head[16] = {1};
        uint16_t bytes[16] = {64, 64, 64};
        uint8_t rows[16] = {16, 16, 16};
    } configuration;
    _tile_loadconfig(&configuration);
    _tile_loadd(0, target, 64);
    _tile_loadd(1, a, 64);
    _tile_loadd(2, b, 64);
    _tile_dpbf16ps(0, 1, 2);
    _tile_stored(0, target, 64);
    _tile_release();
}
}
