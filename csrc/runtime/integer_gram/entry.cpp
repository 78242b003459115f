#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>

#include "lmscope/error.h"
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
    const Splitting& splitting;
    const Products& products;
};

// What was not measured to pay is used only where it is asked for.
struct Asked {
    bool float16 = false;
    bool amx = false;
};

Asked parse(const char* names) {
    Asked result;
    if (names == nullptr || *names == '\0') return result;
    std::istringstream list(names);
    for (std::string name; std::getline(list, name, ',');)
        if (name == "float16")
            result.float16 = true;
        else if (name == "amx")
            result.amx = true;
        else
            throw InvalidArgument(std::string("LMSCOPE_INTEGER_GRAM='") + names +
                                  "' asks for what there is not; it may be float16, amx or float16,amx");
    return result;
}

const Asked& asked() {
    static const Asked result = parse(std::getenv("LMSCOPE_INTEGER_GRAM"));
    return result;
}

std::optional<Target> target() {
    [[maybe_unused]] const Isa isa = active_isa();
#if defined(LMSCOPE_HAVE_AVX512) && defined(LMSCOPE_HAVE_AMX)
    if (isa >= Isa::amx && asked().amx) return Target{splitting_avx512, products_amx};
#endif
#if defined(LMSCOPE_HAVE_AVX512) && defined(LMSCOPE_HAVE_AVX512_BF16)
    if (isa >= Isa::avx512_bf16) return Target{splitting_avx512, products_avx512_bf16};
#endif
    return std::nullopt;
}

bool is_large_enough(const MatrixView& matrix) { return matrix.rows >= least_rows && matrix.columns >= least_columns; }

MatrixView rows_of(const MatrixView& matrix, int64_t first, int64_t rows) {
    MatrixView part = matrix;
    part.data = matrix.at(first, 0);
    part.rows = rows;
    return part;
}

}  // namespace

std::optional<int64_t> add_if_it_pays(const MatrixView& matrix, double* gram) {
    const bool type = matrix.dtype == DType::bfloat16 || (asked().float16 && matrix.dtype == DType::float16);
    const std::optional<Target> found = type && is_large_enough(matrix) ? target() : std::nullopt;
    if (!found) return std::nullopt;
    const auto& [splitting, products] = *found;
    int64_t additions = 0;
    Panels panels(matrix.columns, std::min(most_rows, matrix.rows));
    for (int64_t first = 0; first < matrix.rows; first += most_rows) {
        const int64_t rows = std::min(most_rows, matrix.rows - first);
        const auto limit = static_cast<int64_t>(most_leftovers * static_cast<double>(rows * matrix.columns));
        if (panels.split(matrix, first, rows, splitting, limit)) {
            add_products(panels, matrix.columns, splitting, products, gram);
            ++additions;
        } else {
            additions += add_gram(rows_of(matrix, first, rows), elements::chunk_rows(matrix.columns), 0, gram);
        }
    }
    return additions;
}

}  // namespace lmscope::integer_gram
