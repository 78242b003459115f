#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "lmscope/isa.h"
#include "runtime/gram/gram.h"
#include "runtime/integer_gram/integer_gram.h"

namespace lmscope::integer_gram {
namespace {

// The elements of a panel of such a chunk take a quarter of a megabyte in the second-level cache. Fewer rows than the
// least leave the split and the blocks' start unpaid.
constexpr int64_t most_rows = 4096;
constexpr int64_t least_rows = 512;
constexpr int64_t least_columns = 512;

// Leftovers take about 15 times as long as integers: at 9 % float64 is as fast.
constexpr double most_leftovers = 0.06;

struct Target {
    const Splitting* splitting = nullptr;
    const Products* products = nullptr;
};

// What was not measured to pay is used only where it is asked for.
bool unmeasured_allowed() {
    static const bool allowed = [] {
        const char* value = std::getenv("LMSCOPE_INTEGER_GRAM");
        return value != nullptr && std::strcmp(value, "1") == 0;
    }();
    return allowed;
}

Target target() {
    [[maybe_unused]] const Isa isa = active_isa();
#if defined(LMSCOPE_HAVE_AVX512) && defined(LMSCOPE_HAVE_AMX)
    if (isa >= Isa::amx && unmeasured_allowed()) return {&splitting_avx512, &products_amx};
#endif
#if defined(LMSCOPE_HAVE_AVX512) && defined(LMSCOPE_HAVE_AVX512_BF16)
    if (isa >= Isa::avx512_bf16) return {&splitting_avx512, &products_avx512_bf16};
#endif
    return {};
}

MatrixView rows_of(const MatrixView& matrix, int64_t first, int64_t rows) {
    MatrixView part = matrix;
    part.data = matrix.at(first, 0);
    part.rows = rows;
    return part;
}

}  // namespace

bool pays(const MatrixView& matrix) {
    const bool type = matrix.dtype == DType::bfloat16 || (matrix.dtype == DType::float16 && unmeasured_allowed());
    return type && matrix.rows >= least_rows && matrix.columns >= least_columns && target().products != nullptr;
}

int64_t add(const MatrixView& matrix, double* gram) {
    const auto [splitting, products] = target();
    int64_t additions = 0;
    Panels panels(matrix.columns, std::min(most_rows, matrix.rows));
    for (int64_t first = 0; first < matrix.rows; first += most_rows) {
        const int64_t rows = std::min(most_rows, matrix.rows - first);
        panels.split(matrix, first, rows, *splitting);
        if (static_cast<double>(panels.leftovers()) <= most_leftovers * static_cast<double>(rows * matrix.columns)) {
            add_products(panels, matrix.columns, *splitting, *products, gram);
            ++additions;
        } else {
            additions += add_gram(rows_of(matrix, first, rows), elements::chunk_rows(matrix.columns), 0, gram);
        }
    }
    return additions;
}

}  // namespace lmscope::integer_gram
