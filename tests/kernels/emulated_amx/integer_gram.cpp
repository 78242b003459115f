// The integer Gram at the level amx, on emulated tiles: a shared library for test_integer_gram.py.
#include "runtime/integer_gram/integer_gram.h"

#include <exception>
#include <string>

#include "lmscope/context.h"

extern "C" {

// Null, or what went wrong. `elements` is row-major, bfloat16 or float16; `gram`, column-major, is added to.
const char* add_products(const void* elements, int is_bfloat16, int64_t rows, int64_t columns, int64_t rows_at_once,
                         int64_t threads, double* gram) {
    using namespace lmscope;
    static thread_local std::string problem;
    try {
        set_num_threads(static_cast<int>(threads));
        const MatrixView matrix = {
            elements, is_bfloat16 != 0 ? DType::bfloat16 : DType::float16, rows, columns, columns, 1};
        integer_gram::Panels panels(columns, rows_at_once);
        for (int64_t first = 0; first < rows; first += rows_at_once) {
            const int64_t part = std::min(rows_at_once, rows - first);
            panels.split(matrix, first, part, integer_gram::splitting_avx512, part * columns);
            integer_gram::add_products(panels, columns, integer_gram::splitting_avx512, integer_gram::products_amx,
                                       gram);
        }
        emulated_amx::require(!emulated_amx::tiles.configured, "the tiles were not released");
        return nullptr;
    } catch (const std::exception& error) {
        problem = error.what();
        return problem.c_str();
    }
}

// One instruction: target, 16 x 16 int32, += a b.
void dot_product(const void* a, const void* b, int32_t* target) {
    const struct {
        uint8_t head[16] = {1};
        uint16_t bytes[16] = {64, 64, 64};
        uint8_t rows[16] = {16, 16, 16};
    } configuration;
    _tile_loadconfig(&configuration);
    _tile_loadd(0, target, 64);
    _tile_loadd(1, a, 64);
    _tile_loadd(2, b, 64);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, target, 64);
    _tile_release();
}
}
