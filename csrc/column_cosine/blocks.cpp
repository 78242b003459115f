#include "column_cosine/blocks.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>

#include "runtime/thread_pool.h"

namespace lmscope::cosine {
namespace {

// Padding behind a buffer of x: its interleaving writes whole groups.
constexpr int64_t slack = group;
// A private count is taken over long before it could overflow.
constexpr int64_t most_private_counts = int64_t{1} << 30;
// Slices that the second sum takes before it goes to the third, so that it stays short at any depth.
constexpr int64_t slices_per_sum = 16;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Of every kept column of a side the largest magnitude so far, -1 for none, and whose it is.
template <typename T>
struct Maxima {
    std::vector<T> magnitude;
    std::vector<int64_t>& partner;

    Maxima(int64_t count, std::vector<int64_t>& partners)
        : magnitude(static_cast<size_t>(count), T{-1}), partner(partners) {
        partner.assign(magnitude.size(), -1);
    }

    void offer(int64_t column, T candidate, int64_t whose) {
        if (candidate < 0) return;
        const auto at = static_cast<size_t>(column);
        if (candidate > magnitude[at] || (candidate == magnitude[at] && whose < partner[at])) {
            magnitude[at] = candidate;
            partner[at] = whose;
        }
    }
};

// The elements of a slice of one side in the form that the tile multiplies.
struct Slice {
    const char* data;
    int64_t group_stride;
};

void widen_to(const Kernels& kernels, Stored stored, const char* source, int64_t depths, float* target) {
    if (stored == Stored::bfloat16) return kernels.widen(source, depths, target);
    std::memcpy(target, source, static_cast<size_t>(depths * group) * sizeof(float));
}

void widen_to(const Kernels& kernels, Stored stored, const char* source, int64_t depths, double* target) {
    float numbers[2 * group];
    for (int64_t depth = 0; depth < depths; depth += 2) {
        widen_to(kernels, stored, source + depth * group * bytes_of(stored), 2, numbers);
        for (int64_t i = 0; i < 2 * group; ++i) target[depth * group + i] = static_cast<double>(numbers[i]);
    }
}

// The thread is ready for the tile's instructions as long as this lives.
template <typename T>
class Entered {
public:
    explicit Entered(const Tile<T>& tile) : tile_(tile) {
        if (tile_.enter != nullptr) tile_.enter();
    }
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;
    ~Entered() {
        if (tile_.leave != nullptr) tile_.leave();
    }

private:
    const Tile<T>& tile_;
};

// `form`: what the tile multiplies; T: what it adds up.
template <typename T>
class Comparison {
public:
    Comparison(const Packed& x, const Packed& y, bool self, int64_t bins, const Kernels& kernels, const Tile<T>& tile,
               Stored form)
        : kernels_(kernels),
          x_(x),
          y_(y),
          self_(self),
          bins_(bins),
          tile_(tile),
          form_(form),
          most_depth_(tile.blocking.depths),
          deep_(x.padded_depth > slices_per_sum * most_depth_),
          rows_(round_up(tile.blocking.rows, tile.rows)),
          columns_(tile.blocking.columns),
          inverse_x_(narrowed(x, rows_)),
          inverse_y_(narrowed(y, columns_)),
          of_x_(x.count(), result_.partner_x),
          of_y_(self ? 0 : y.count(), result_.partner_y) {
        result_.counts.assign(static_cast<size_t>(bins), 0);
    }

    Compared run() {
        const int64_t down = (x_.count() + rows_ - 1) / rows_;
        const int64_t across = (y_.count() + columns_ - 1) / columns_;
        parallel_for(down * across, [&](int64_t task) {
            const int64_t first_row = task / across * rows_;
            const int64_t first_column = task % across * columns_;
            const int64_t last_column = std::min(first_column + columns_, y_.count()) - 1;
            if (self_ && last_column <= first_row) return;
            std::unique_ptr<Scratch> scratch = take_scratch();
            block(*scratch, first_row, first_column);
            const std::lock_guard lock(mutex_);
            idle_.push_back(std::move(scratch));
        });
        for (auto& scratch : idle_) take_counts(*scratch);
        return std::move(result_);
    }

private:
    struct Scratch {
        AlignedBuffer widened_x;
        AlignedBuffer widened_y;
        AlignedBuffer tiles_x;
        AlignedBuffer sums;
        AlignedBuffer totals;
        std::vector<T> row_maxima;
        std::vector<T> row_places;
        std::vector<T> column_maxima;
        std::vector<T> column_places;
        std::vector<uint32_t> counts;
        int64_t counted = 0;
    };

    static AlignedBuffer buffer(int64_t elements) {
        return AlignedBuffer((elements * static_cast<int64_t>(sizeof(T)) + 7) / 8);
    }

    // target (+)= source.
    static void add_tile(const T* source, int64_t elements, bool add, T* target) {
        if (add)
            for (int64_t i = 0; i < elements; ++i) target[i] += source[i];
        else
            std::copy_n(source, elements, target);
    }

    static std::vector<T> narrowed(const Packed& packed, int64_t step) {
        std::vector<T> result(static_cast<size_t>(round_up(packed.padded_count(), step) + step), T{0});
        for (size_t i = 0; i < packed.inverse_norms.size(); ++i) result[i] = static_cast<T>(packed.inverse_norms[i]);
        return result;
    }

    std::unique_ptr<Scratch> take_scratch() {
        {
            const std::lock_guard lock(mutex_);
            if (!idle_.empty()) {
                std::unique_ptr<Scratch> found = std::move(idle_.back());
                idle_.pop_back();
                return found;
            }
        }
        auto scratch = std::make_unique<Scratch>();
        if (x_.stored != form_) scratch->widened_x = buffer((rows_ + 2 * group) * most_depth_);
        if (y_.stored != form_) scratch->widened_y = buffer(tile_.columns * most_depth_);
        scratch->tiles_x = buffer((rows_ + slack) * most_depth_);
        scratch->sums = buffer(rows_ * columns_);
        if (deep_) scratch->totals = buffer(rows_ * columns_);
        scratch->row_maxima.resize(static_cast<size_t>(rows_ * tile_.lanes));
        scratch->row_places.resize(static_cast<size_t>(rows_ * tile_.lanes));
        scratch->column_maxima.resize(static_cast<size_t>(columns_));
        scratch->column_places.resize(static_cast<size_t>(columns_));
        scratch->counts.assign(static_cast<size_t>(histogram_tables * bins_), 0);
        return scratch;
    }

    void take_counts(Scratch& scratch) {
        for (int64_t table = 0; table < histogram_tables; ++table)
            for (int64_t bin = 0; bin < bins_; ++bin)
                result_.counts[static_cast<size_t>(bin)] += scratch.counts[static_cast<size_t>(table * bins_ + bin)];
        std::fill(scratch.counts.begin(), scratch.counts.end(), 0U);
        scratch.counted = 0;
    }

    // Groups of one side from `depth` on: where they lie, or a widened copy.
    Slice slice(const Packed& side, int64_t first_group, int64_t groups, int64_t depth, int64_t depths,
                AlignedBuffer& widened) const {
        const int64_t offset = depth * group * bytes_of(side.stored);
        if (side.stored == form_) return {side.group_at(first_group) + offset, side.group_bytes()};
        T* target = reinterpret_cast<T*>(widened.data());
        for (int64_t i = 0; i < groups; ++i)
            widen_to(kernels_, side.stored, side.group_at(first_group + i) + offset, depths,
                     target + i * group * depths);
        return {reinterpret_cast<const char*>(target), group * depths * static_cast<int64_t>(sizeof(T))};
    }

    // Tiles of x, one after the other, each with its columns interleaved step by step.
    void interleave(Scratch& scratch, int64_t first_row, int64_t rows, int64_t depth, int64_t depths) const {
        const int64_t steps = form_ == Stored::bfloat16 ? depths / 2 : depths;
        const int64_t first_group = first_row / group;
        const int64_t groups =
            std::min((first_row + rows - 1) / group, x_.padded_count() / group - 1) - first_group + 1;
        const Slice from = slice(x_, first_group, groups, depth, depths, scratch.widened_x);
        // The columns behind the last group do not exist; their places in the last tile are not looked at.
        const int64_t end = (first_group + groups) * group;
        // A step of a column has the size of T: a number, or a pair of bfloat16.
        T* target = reinterpret_cast<T*>(scratch.tiles_x.data());
        for (int64_t row = 0; row < rows; row += tile_.rows, target += tile_.rows * steps) {
            const int64_t column = first_row + row;
            Parts<T> parts{};
            for (int64_t done = 0; done < tile_.rows && column + done < end;) {
                const int64_t index = (column + done) / group - first_group;
                const int64_t lane = (column + done) % group;
                parts.source[parts.count] = reinterpret_cast<const T*>(from.data + index * from.group_stride) + lane;
                parts.place[parts.count++] = done;
                done += group - lane;
            }
            tile_.interleave(parts, steps, target);
        }
    }

    void block(Scratch& scratch, int64_t first_row, int64_t first_column) {
        const int64_t valid_rows = std::min(rows_, x_.count() - first_row);
        const int64_t valid_columns = std::min(columns_, y_.count() - first_column);
        const int64_t rows = round_up(valid_rows, tile_.rows);
        std::fill(scratch.row_maxima.begin(), scratch.row_maxima.end(), T{-1});
        std::fill(scratch.column_maxima.begin(), scratch.column_maxima.end(), T{-1});
        T* sums = reinterpret_cast<T*>(scratch.sums.data());
        T* totals = reinterpret_cast<T*>(scratch.totals.data());
        const int64_t tile_elements = tile_.rows * tile_.columns;
        const int64_t depth_per_sum = slices_per_sum * most_depth_;
        const Entered<T> entered(tile_);
        for (int64_t depth = 0; depth < x_.padded_depth; depth += most_depth_) {
            const int64_t depths = std::min(most_depth_, x_.padded_depth - depth);
            const int64_t steps = form_ == Stored::bfloat16 ? depths / 2 : depths;
            const bool last = depth + depths == x_.padded_depth;
            const bool add = depth % depth_per_sum > 0;
            const bool sum_is_full = (depth + depths) % depth_per_sum == 0;
            interleave(scratch, first_row, rows, depth, depths);
            for (int64_t column = 0; column < valid_columns; column += tile_.columns) {
                const Slice from =
                    slice(y_, (first_column + column) / group, tile_.columns / group, depth, depths, scratch.widened_y);
                for (int64_t row = 0; row < rows; row += tile_.rows) {
                    const int64_t first_partner = first_row + row + 1 - (first_column + column);
                    if (self_ && first_partner >= std::min<int64_t>(tile_.columns, valid_columns - column)) break;
                    const int64_t place = column * rows_ + row * tile_.columns;
                    T* target = sums + place;
                    const T* tile_x = reinterpret_cast<const T*>(scratch.tiles_x.data()) + row * steps;
                    tile_.multiply(tile_x, from.data, from.group_stride, steps, add, target);
                    if (!last) {
                        if (sum_is_full) add_tile(target, tile_elements, depth >= depth_per_sum, totals + place);
                        continue;
                    }
                    if (deep_) add_tile(totals + place, tile_elements, true, target);
                    tile_.finish(
                        {target, inverse_x_.data() + first_row + row, inverse_y_.data() + first_column + column, row,
                         column, valid_rows - row, valid_columns - column, self_ ? first_partner : -(rows_ + columns_),
                         static_cast<T>(bins_), scratch.counts.data(), bins_,
                         scratch.row_maxima.data() + row * tile_.lanes, scratch.row_places.data() + row * tile_.lanes,
                         scratch.column_maxima.data() + column, scratch.column_places.data() + column});
                }
            }
        }
        scratch.counted += valid_rows * valid_columns;
        merge(scratch, first_row, valid_rows, first_column, valid_columns);
    }

    void merge(Scratch& scratch, int64_t first_row, int64_t rows, int64_t first_column, int64_t columns) {
        const std::lock_guard lock(mutex_);
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t lane = row * tile_.lanes; lane < (row + 1) * tile_.lanes; ++lane)
                of_x_.offer(first_row + row, scratch.row_maxima[static_cast<size_t>(lane)],
                            first_column + static_cast<int64_t>(scratch.row_places[static_cast<size_t>(lane)]));
        Maxima<T>& other = self_ ? of_x_ : of_y_;
        for (int64_t column = 0; column < columns; ++column)
            other.offer(first_column + column, scratch.column_maxima[static_cast<size_t>(column)],
                        first_row + static_cast<int64_t>(scratch.column_places[static_cast<size_t>(column)]));
        if (scratch.counted > most_private_counts) take_counts(scratch);
    }

    const Kernels& kernels_;
    const Packed& x_;
    const Packed& y_;
    const bool self_;
    const int64_t bins_;
    const Tile<T>& tile_;
    const Stored form_;
    const int64_t most_depth_;
    // Three sums, not two.
    const bool deep_;
    const int64_t rows_;
    const int64_t columns_;
    const std::vector<T> inverse_x_;
    const std::vector<T> inverse_y_;
    Compared result_;
    Maxima<T> of_x_;
    Maxima<T> of_y_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace

Compared compare_all(const Packed& x, const Packed& y, bool self, int64_t bins, const Kernels& kernels) {
    const bool wide = x.stored == Stored::float64 || y.stored == Stored::float64;
    if (wide) return Comparison<double>(x, y, self, bins, kernels, kernels.float64, Stored::float64).run();
    const bool narrow = x.stored == Stored::bfloat16 && y.stored == Stored::bfloat16;
    if (narrow && kernels.bfloat16.multiply != nullptr)
        return Comparison<float>(x, y, self, bins, kernels, kernels.bfloat16, Stored::bfloat16).run();
    return Comparison<float>(x, y, self, bins, kernels, kernels.float32, Stored::float32).run();
}

}  // namespace lmscope::cosine
