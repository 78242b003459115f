#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <vector>

#include "column_cosine/packed.h"
#include "runtime/thread_pool.h"

namespace lmscope::cosine {
namespace {

// A slice of the depth of all columns, column by column, is at most this much.
constexpr int64_t slice_bytes = int64_t{24} << 20;
constexpr int64_t most_slice_depth = 512;
constexpr int64_t least_slice_depth = 16;
constexpr int64_t pairs_per_task = 512;

template <Stored stored>
using Number = std::conditional_t<stored == Stored::float64, double, float>;

// Depths [first, first + depths) of a group, `depths` numbers for each of its columns.
template <Stored stored>
void separate_columns(const char* group_data, int64_t first, int64_t depths, Number<stored>* target) {
    if constexpr (stored == Stored::bfloat16) {
        for (int64_t depth = 0; depth < depths; depth += 2) {
            uint32_t pairs[group];
            std::memcpy(pairs, group_data + (first + depth) / 2 * static_cast<int64_t>(sizeof pairs), sizeof pairs);
            for (int64_t lane = 0; lane < group; ++lane) {
                target[lane * depths + depth] = std::bit_cast<float>(pairs[lane] << 16);
                target[lane * depths + depth + 1] = std::bit_cast<float>(pairs[lane] & 0xffff0000U);
            }
        }
    } else {
        for (int64_t depth = 0; depth < depths; ++depth) {
            Number<stored> row[group];
            std::memcpy(row, group_data + (first + depth) * static_cast<int64_t>(sizeof row), sizeof row);
            for (int64_t lane = 0; lane < group; ++lane) target[lane * depths + depth] = row[lane];
        }
    }
}

// The columns of one side, slice by slice.
template <Stored stored>
class Columns {
public:
    Columns(const Packed& packed, int64_t most_depth)
        : packed_(packed),
          numbers_((packed.padded_count() * most_depth * static_cast<int64_t>(sizeof(Number<stored>)) + 7) / 8) {}

    void separate(int64_t first, int64_t depths) {
        depths_ = depths;
        parallel_for(packed_.padded_count() / group, [&](int64_t index) {
            separate_columns<stored>(packed_.group_at(index), first, depths, data() + index * group * depths);
        });
    }

    const Number<stored>* at(int64_t column) { return data() + column * depths_; }

private:
    Number<stored>* data() { return reinterpret_cast<Number<stored>*>(numbers_.data()); }

    const Packed& packed_;
    AlignedBuffer numbers_;
    int64_t depths_ = 0;
};

// Sums of every fourth product, as pack_block adds up its squares: additions do not wait for each other.
struct Sums {
    double place[4] = {};
};

template <typename X, typename Y>
void add_slice(const X* x, const Y* y, int64_t depths, Sums& sums) {
    int64_t depth = 0;
    for (; depth + 4 <= depths; depth += 4)
        for (int64_t i = 0; i < 4; ++i)
            sums.place[i] += static_cast<double>(x[depth + i]) * static_cast<double>(y[depth + i]);
    for (; depth < depths; ++depth)
        sums.place[depth % 4] += static_cast<double>(x[depth]) * static_cast<double>(y[depth]);
}

template <Stored stored_x, Stored stored_y>
void products_of(const Packed& x, const Packed& y, const int64_t* first, const int64_t* second, int64_t pairs,
                 double* products) {
    const int64_t bytes = x.padded_count() * static_cast<int64_t>(sizeof(Number<stored_x>)) +
                          y.padded_count() * static_cast<int64_t>(sizeof(Number<stored_y>));
    const int64_t most_depth =
        std::min(x.padded_depth, std::clamp(slice_bytes / bytes / 4 * 4, least_slice_depth, most_slice_depth));
    Columns<stored_x> of_x(x, most_depth);
    Columns<stored_y> of_y(y, most_depth);
    std::vector<Sums> sums(static_cast<size_t>(pairs));
    for (int64_t depth = 0; depth < x.padded_depth; depth += most_depth) {
        const int64_t depths = std::min(most_depth, x.padded_depth - depth);
        of_x.separate(depth, depths);
        of_y.separate(depth, depths);
        parallel_for((pairs + pairs_per_task - 1) / pairs_per_task, [&](int64_t task) {
            const int64_t end = std::min((task + 1) * pairs_per_task, pairs);
            for (int64_t pair = task * pairs_per_task; pair < end; ++pair)
                add_slice(of_x.at(first[pair]), of_y.at(second[pair]), depths, sums[static_cast<size_t>(pair)]);
        });
    }
    for (int64_t pair = 0; pair < pairs; ++pair) {
        const double* place = sums[static_cast<size_t>(pair)].place;
        products[pair] = (place[0] + place[1]) + (place[2] + place[3]);
    }
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
