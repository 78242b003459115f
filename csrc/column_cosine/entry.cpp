#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "column_cosine/blocks.h"
#include "lmscope/column_cosine.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"

namespace lmscope {
namespace cosine {
namespace {

const Kernels& kernels() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AMX
    if (isa >= Isa::amx) return kernels_amx;
#endif
#ifdef LMSCOPE_HAVE_AVX512_BF16
    if (isa >= Isa::avx512_bf16) return kernels_avx512_bf16;
#endif
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return kernels_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return kernels_avx2;
#endif
    return kernels_scalar;
}

// From a side's kept columns to the matrix's own: in `maxima` and `places` those come first, with float64 products and
// partners among the other's kept columns. From the last one on, as none moves to a lower place.
void finish_side(const Packed& side, const Packed& other, std::vector<double>& maxima, std::vector<int64_t>& places) {
    const auto columns = static_cast<size_t>(side.columns);
    maxima.resize(columns);
    places.resize(columns);
    size_t next = side.kept.size();
    for (size_t column = columns; column-- > 0;) {
        const bool kept = next > 0 && side.kept[next - 1] == static_cast<int64_t>(column);
        if (kept) --next;
        if (!kept || places[next] < 0) {
            maxima[column] = std::numeric_limits<double>::quiet_NaN();
            places[column] = -1;
            continue;
        }
        const auto partner = static_cast<size_t>(places[next]);
        const double norms = side.squared_norms[next] * other.squared_norms[partner];
        // The square root of a square is exact: a column and its copy have cosine 1.
        maxima[column] = std::min(1.0, std::fabs(maxima[next]) / std::sqrt(norms));
        places[column] = other.kept[partner];
    }
}

ColumnCosine compare(const Packed& x, const Packed& y, bool self, int64_t bins) {
    if (bins < 2 || bins > most_cosine_bins)
        throw InvalidArgument("bins must lie between 2 and " + std::to_string(most_cosine_bins) + ", got " +
                              std::to_string(bins));
    if (x.depth != y.depth)
        throw InvalidArgument("x and y must have the same number of rows, got " + std::to_string(x.depth) + " and " +
                              std::to_string(y.depth) + "; pass the transpose where the vectors are rows");
    for (const auto& [side, name] : {std::pair{&x, "x"}, std::pair{&y, "y"}})
        if (side->count() == 0) throw InvalidArgument(std::string(name) + " has no column with a norm above zero");
    Compared found = compare_all(x, y, self, bins, kernels());
    ColumnCosine result{std::move(found.counts), std::vector<double>(found.partner_x.size()),
                        std::vector<double>(found.partner_y.size()), std::move(found.partner_x),
                        std::move(found.partner_y)};
    float64_products(x, y, result.argmax_x, result.argmax_y, result.max_abs_x.data(), result.max_abs_y.data());
    finish_side(x, y, result.max_abs_x, result.argmax_x);
    if (self) {
        result.max_abs_y = result.max_abs_x;
        result.argmax_y = result.argmax_x;
    } else {
        finish_side(y, x, result.max_abs_y, result.argmax_y);
    }
    return result;
}

}  // namespace
}  // namespace cosine

ColumnCosine column_cosine(const PackedColumns& x, const PackedColumns& y, int64_t bins) {
    return cosine::compare(x.packed(), y.packed(), false, bins);
}

ColumnCosine column_cosine(const PackedColumns& x, int64_t bins) {
    return cosine::compare(x.packed(), x.packed(), true, bins);
}

}  // namespace lmscope
