#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "column_cosine/packed.h"
#include "runtime/thread_pool.h"

namespace lmscope::cosine {
namespace {

// A slice of the depth of all columns, column by column, is at most this much.
constexpr int64_t slice_bytes = int64_t{24} << 20;
constexpr int64_t most_slice_depth = 512;
constexpr int64_t least_slice_depth = 4;
constexpr int64_t pairs_per_task = 512;
// Pairs whose sums are held at a time; for the next ones the slices are laid out again.
constexpr int64_t most_pairs = int64_t{1} << 17;

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

// Columns of x with their partners, then those of y: pair by pair which columns they are and where the product goes.
class Pairs {
public:
    Pairs(const std::vector<int64_t>& partner_x, const std::vector<int64_t>& partner_y, double* products_x,
          double* products_y)
        : partner_x_(partner_x), partner_y_(partner_y), products_x_(products_x), products_y_(products_y) {}

    int64_t count() const { return static_cast<int64_t>(partner_x_.size() + partner_y_.size()); }

    struct Pair {
        int64_t x;
        int64_t y;
        double& product;
        bool missing() const { return x < 0 || y < 0; }
    };

    Pair operator[](int64_t index) const {
        const auto place = static_cast<size_t>(index);
        if (place < partner_x_.size()) return {index, partner_x_[place], products_x_[place]};
        const size_t of_y = place - partner_x_.size();
        return {partner_y_[of_y], static_cast<int64_t>(of_y), products_y_[of_y]};
    }

private:
    const std::vector<int64_t>& partner_x_;
    const std::vector<int64_t>& partner_y_;
    double* products_x_;
    double* products_y_;
};

template <Stored stored_x, Stored stored_y>
void products_of(const Packed& x, const Packed& y, const Pairs& pairs) {
    const int64_t bytes = x.padded_count() * static_cast<int64_t>(sizeof(Number<stored_x>)) +
                          y.padded_count() * static_cast<int64_t>(sizeof(Number<stored_y>));
    const int64_t most_depth =
        std::min(x.padded_depth, std::clamp(slice_bytes / bytes / 4 * 4, least_slice_depth, most_slice_depth));
    Columns<stored_x> of_x(x, most_depth);
    Columns<stored_y> of_y(y, most_depth);
    std::vector<Sums> sums(static_cast<size_t>(std::min(pairs.count(), most_pairs)));
    for (int64_t first = 0; first < pairs.count(); first += most_pairs) {
        const int64_t count = std::min(most_pairs, pairs.count() - first);
        std::fill(sums.begin(), sums.end(), Sums{});
        for (int64_t depth = 0; depth < x.padded_depth; depth += most_depth) {
            const int64_t depths = std::min(most_depth, x.padded_depth - depth);
            of_x.separate(depth, depths);
            of_y.separate(depth, depths);
            parallel_for((count + pairs_per_task - 1) / pairs_per_task, [&](int64_t task) {
                const int64_t end = std::min((task + 1) * pairs_per_task, count);
                for (int64_t index = task * pairs_per_task; index < end; ++index)
                    if (const auto pair = pairs[first + index]; !pair.missing())
                        add_slice(of_x.at(pair.x), of_y.at(pair.y), depths, sums[static_cast<size_t>(index)]);
            });
        }
        for (int64_t index = 0; index < count; ++index) {
            const auto pair = pairs[first + index];
            const double* place = sums[static_cast<size_t>(index)].place;
            pair.product = pair.missing() ? std::numeric_limits<double>::quiet_NaN()
                                          : (place[0] + place[1]) + (place[2] + place[3]);
        }
    }
}

template <Stored stored_x>
void products_of(const Packed& x, const Packed& y, const Pairs& pairs) {
    switch (y.stored) {
        case Stored::bfloat16:
            return products_of<stored_x, Stored::bfloat16>(x, y, pairs);
        case Stored::float32:
            return products_of<stored_x, Stored::float32>(x, y, pairs);
        case Stored::float64:
            return products_of<stored_x, Stored::float64>(x, y, pairs);
    }
}

}  // namespace

void float64_products(const Packed& x, const Packed& y, const std::vector<int64_t>& partner_x,
                      const std::vector<int64_t>& partner_y, double* products_x, double* products_y) {
    const Pairs pairs(partner_x, partner_y, products_x, products_y);
    switch (x.stored) {
        case Stored::bfloat16:
            return products_of<Stored::bfloat16>(x, y, pairs);
        case Stored::float32:
            return products_of<Stored::float32>(x, y, pairs);
        case Stored::float64:
            return products_of<Stored::float64>(x, y, pairs);
    }
}

}  // namespace lmscope::cosine
