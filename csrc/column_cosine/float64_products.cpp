#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <vector>

#include "column_cosine/packed.h"
#include "runtime/thread_pool.h"

namespace lmscope::cosine {
namespace {

// Depths per visit of a pair: the slice of all columns stays in the last-level cache while the pairs go by.
constexpr int64_t slice_depth = 512;
constexpr int64_t pairs_per_task = 2048;

struct Two {
    double even;
    double odd;
};

template <Stored stored>
Two two_at(const char* group_data, int64_t depth, int64_t lane) {
    if constexpr (stored == Stored::bfloat16) {
        uint32_t bits;
        std::memcpy(&bits, group_data + (depth / 2 * group + lane) * 4, sizeof bits);
        return {static_cast<double>(std::bit_cast<float>(bits << 16)),
                static_cast<double>(std::bit_cast<float>(bits & 0xffff0000U))};
    } else {
        using Number = std::conditional_t<stored == Stored::float32, float, double>;
        Number numbers[2];
        for (int64_t i = 0; i < 2; ++i)
            std::memcpy(&numbers[i], group_data + ((depth + i) * group + lane) * bytes_of(stored), sizeof(Number));
        return {static_cast<double>(numbers[0]), static_cast<double>(numbers[1])};
    }
}

// Sums of four kinds of places, so that additions do not wait for each other.
struct Sums {
    double place[4] = {};
};

template <Stored stored_x, Stored stored_y>
void add_slice(const char* x, int64_t lane_x, const char* y, int64_t lane_y, int64_t first, int64_t end, Sums& sums) {
    int64_t depth = first;
    for (; depth + 4 <= end; depth += 4) {
        const Two a = two_at<stored_x>(x, depth, lane_x);
        const Two b = two_at<stored_y>(y, depth, lane_y);
        const Two c = two_at<stored_x>(x, depth + 2, lane_x);
        const Two d = two_at<stored_y>(y, depth + 2, lane_y);
        sums.place[0] += a.even * b.even;
        sums.place[1] += a.odd * b.odd;
        sums.place[2] += c.even * d.even;
        sums.place[3] += c.odd * d.odd;
    }
    for (; depth < end; depth += 2) {
        const Two a = two_at<stored_x>(x, depth, lane_x);
        const Two b = two_at<stored_y>(y, depth, lane_y);
        sums.place[0] += a.even * b.even;
        sums.place[1] += a.odd * b.odd;
    }
}

template <Stored stored_x, Stored stored_y>
void products_of(const Packed& x, const Packed& y, const int64_t* first, const int64_t* second, int64_t pairs,
                 double* products) {
    parallel_for((pairs + pairs_per_task - 1) / pairs_per_task, [&](int64_t task) {
        const int64_t begin = task * pairs_per_task;
        const int64_t count = std::min(pairs_per_task, pairs - begin);
        std::vector<Sums> sums(static_cast<size_t>(count));
        // By their column of y: the lines that one pair has brought serve the others of the group.
        std::vector<int64_t> order(static_cast<size_t>(count));
        std::iota(order.begin(), order.end(), begin);
        std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return second[a] < second[b]; });
        for (int64_t depth = 0; depth < x.padded_depth; depth += slice_depth) {
            const int64_t end = std::min(depth + slice_depth, x.padded_depth);
            for (const int64_t pair : order) {
                const int64_t i = first[pair];
                const int64_t j = second[pair];
                add_slice<stored_x, stored_y>(x.group_at(i / group), i % group, y.group_at(j / group), j % group, depth,
                                              end, sums[static_cast<size_t>(pair - begin)]);
            }
        }
        for (int64_t pair = 0; pair < count; ++pair) {
            const double* place = sums[static_cast<size_t>(pair)].place;
            products[begin + pair] = (place[0] + place[1]) + (place[2] + place[3]);
        }
    });
}

template <Stored stored_x>
void products_of(const Packed& x, const Packed& y, const int64_t* first, const int64_t* second, int64_t pairs,
                 double* products) {
    switch (y.stored) {
        case Stored::bfloat16:
            return products_of<stored_x, Stored::bfloat16>(x, y, first, second, pairs, products);
        case Stored::float32:
            return products_of<stored_x, Stored::float32>(x, y, first, second, pairs, products);
        case Stored::float64:
            return products_of<stored_x, Stored::float64>(x, y, first, second, pairs, products);
    }
}

}  // namespace

void float64_products(const Packed& x, const Packed& y, const int64_t* first, const int64_t* second, int64_t pairs,
                      double* products) {
    switch (x.stored) {
        case Stored::bfloat16:
            return products_of<Stored::bfloat16>(x, y, first, second, pairs, products);
        case Stored::float32:
            return products_of<Stored::float32>(x, y, first, second, pairs, products);
        case Stored::float64:
            return products_of<Stored::float64>(x, y, first, second, pairs, products);
    }
}

}  // namespace lmscope::cosine
