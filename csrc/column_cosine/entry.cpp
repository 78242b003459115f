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

// The pairs that attain the maxima, in terms of packed columns of x and of y.
struct Attained {
    std::vector<int64_t> of_x;
    std::vector<int64_t> of_y;

    void add(const std::vector<int64_t>& partners, bool from_x) {
        for (size_t i = 0; i < partners.size(); ++i) {
            if (partners[i] < 0) continue;
            (from_x ? of_x : of_y).push_back(static_cast<int64_t>(i));
            (from_x ? of_y : of_x).push_back(partners[i]);
        }
    }
};

// A side's maxima from float64 products, in terms of the matrix's own columns; `product` is the first of that side.
void write_maxima(const Packed& side, const Packed& other, const std::vector<int64_t>& partners, const double* product,
                  std::vector<double>& maxima, std::vector<int64_t>& places) {
    maxima.assign(static_cast<size_t>(side.columns), std::numeric_limits<double>::quiet_NaN());
    places.assign(static_cast<size_t>(side.columns), -1);
    for (size_t i = 0; i < partners.size(); ++i) {
        if (partners[i] < 0) continue;
        const auto partner = static_cast<size_t>(partners[i]);
        const double norms = side.squared_norms[i] * other.squared_norms[partner];
        const auto column = static_cast<size_t>(side.kept[i]);
        // The square root of a square is exact: a column and its copy have cosine 1.
        maxima[column] = std::min(1.0, std::fabs(*product++) / std::sqrt(norms));
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
    ColumnCosine result;
    result.counts = std::move(found.counts);
    Attained pairs;
    pairs.add(found.x.partner, true);
    const size_t pairs_of_x = pairs.of_x.size();
    if (!self) pairs.add(found.y.partner, false);
    std::vector<double> products(pairs.of_x.size());
    float64_products(x, y, pairs.of_x.data(), pairs.of_y.data(), static_cast<int64_t>(products.size()),
                     products.data());
    write_maxima(x, y, found.x.partner, products.data(), result.max_abs_x, result.argmax_x);
    if (self) {
        result.max_abs_y = result.max_abs_x;
        result.argmax_y = result.argmax_x;
    } else {
        write_maxima(y, x, found.y.partner, products.data() + pairs_of_x, result.max_abs_y, result.argmax_y);
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
