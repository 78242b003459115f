#include "randomized_nulls/lanczos.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <vector>

#include "lmscope/isa.h"
#include "randomized_nulls/counter.h"
#include "randomized_nulls/products.h"
#include "runtime/aligned_buffer.h"
#include "runtime/thread_pool.h"

namespace lmscope::nulls {
namespace {

// Error of one product in float32 over the largest eigenvalue; README.md shows the measurements that fix it.
constexpr double product_error = 0x1p-24 * 32;
constexpr int64_t most_steps = 1000;
// Slabs of rows are the unit of parallel work and of summation, blocks the rows that are in float32 at one time.
constexpr int64_t most_slabs = 16;
constexpr int64_t block_floats = int64_t{1} << 16;

const Products& products() {
    [[maybe_unused]] const Isa isa = active_isa();
#ifdef LMSCOPE_HAVE_AVX512
    if (isa >= Isa::avx512) return products_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
    if (isa >= Isa::avx2) return products_avx2;
#endif
    return products_scalar;
}

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

struct Floats {
    AlignedBuffer buffer;
    explicit Floats(int64_t count) : buffer((count + 1) / 2) {}
    float* data() { return reinterpret_cast<float*>(buffer.data()); }
};

// Rows [first, first + rows) times `scale`, row-major with `width` floats a row; what lies beyond the matrix is zero.
void load_block(const Products& table, const MatrixView& matrix, int64_t first, int64_t rows, double scale,
                int64_t width, float* target) {
    const int64_t columns = matrix.columns;
    if (matrix.column_stride == 1) {
        for (int64_t row = 0; row < rows; ++row)
            table.narrow(matrix.dtype, matrix.at(first + row, 0), columns, scale, target + row * width);
    } else if (matrix.row_stride == 1) {
        float line[group];
        for (int64_t column = 0; column < columns; ++column) {
            table.narrow(matrix.dtype, matrix.at(first, column), rows, scale, line);
            for (int64_t row = 0; row < rows; ++row) target[row * width + column] = line[row];
        }
    } else {
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t column = 0; column < columns; ++column)
                table.narrow(matrix.dtype, matrix.at(first + row, column), 1, scale, target + row * width + column);
    }
    for (int64_t row = 0; row < rows; ++row)
        std::fill(target + row * width + columns, target + (row + 1) * width, 0.0F);
    std::fill(target + rows * width, target + round_up(rows, row_step) * width, 0.0F);
}

int64_t block_rows(int64_t width) { return std::clamp(block_floats / width / row_step * row_step, row_step, group); }

// The symmetric tridiagonal matrix of one Lanczos run.
struct Tridiagonal {
    std::vector<double> diagonal;
    std::vector<double> beside;  // beside[i] couples i and i + 1; the last one is the residual's norm
    double top = 0;
    double residual = 0;

    // Every eigenvalue lies below `value`: all pivots of value * I - T are positive.
    bool all_below(double value) const {
        double pivot = value - diagonal[0];
        for (size_t i = 1; i < diagonal.size(); ++i) {
            if (pivot <= 0) return false;
            pivot = value - diagonal[i] - beside[i - 1] * beside[i - 1] / pivot;
        }
        return pivot > 0;
    }

    void append(double alpha, double beta) {
        const double before = diagonal.empty() ? alpha : std::max(top, alpha);
        double low = diagonal.empty() ? alpha : before;
        double high = diagonal.empty() ? alpha : before + beside.back();
        diagonal.push_back(alpha);
        while (high - low > 1e-13 * high) {
            const double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high) break;
            (all_below(middle) ? high : low) = middle;
        }
        top = high;
        beside.push_back(beta);
        residual = beta * last_component();
    }

    // |last component| of the unit eigenvector of `top`, by the recurrence from its end, the direction it grows in.
    double last_component() const {
        const size_t order = diagonal.size();
        double after = 0;
        double here = 1;
        double squares = 1;
        for (size_t i = order - 1; i > 0; --i) {
            if (beside[i - 1] == 0) break;
            const double before =
                ((top - diagonal[i]) * here - (i + 1 < order ? beside[i] * after : 0.0)) / beside[i - 1];
            after = here;
            here = before;
            squares += here * here;
            if (squares > 1e200) break;
        }
        return 1 / std::sqrt(squares);
    }
};

struct Draw {
    uint64_t key = 0;
    Tridiagonal matrix;
    std::vector<double> vector;
    std::vector<double> previous;
    bool done = false;

    Draw(uint64_t seed, uint64_t draw, int64_t columns)
        : key(counter::draw_key(seed, draw)),
          vector(static_cast<size_t>(columns)),
          previous(static_cast<size_t>(columns), 0.0) {
        // Rows count from 0, so that no sign shares the key of "row -1".
        const uint64_t own = counter::line_key(key, ~uint64_t{0});
        double squares = 0;
        for (size_t i = 0; i < vector.size(); ++i) {
            vector[i] = static_cast<double>(static_cast<int64_t>(counter::word(own, i))) * 0x1p-63;
            squares += vector[i] * vector[i];
        }
        for (double& value : vector) value /= std::sqrt(squares);
    }

    // One three-term step with product = A^T A vector, which it destroys. The vectors are not orthogonalised against
    // all earlier ones: what that loses are copies of converged values, and the run ends at the first of those.
    void advance(std::vector<double>& product, double relative_tolerance) {
        const size_t columns = vector.size();
        double alpha = 0;
        for (size_t i = 0; i < columns; ++i) alpha += vector[i] * product[i];
        const double coupling = matrix.beside.empty() ? 0.0 : matrix.beside.back();
        double squares = 0;
        for (size_t i = 0; i < columns; ++i) {
            product[i] -= alpha * vector[i] + coupling * previous[i];
            squares += product[i] * product[i];
        }
        const double beta = std::sqrt(squares);
        matrix.append(alpha, beta);
        done = matrix.residual <= 2 * relative_tolerance * matrix.top || beta == 0 ||
               static_cast<int64_t>(matrix.diagonal.size()) >= most_steps;
        previous.swap(vector);
        vector.swap(product);
        if (beta > 0)
            for (double& value : vector) value /= beta;
    }
};

// What one slab needs at a time, kept from slab to slab.
struct Scratch {
    Floats block;
    Floats sum;
    std::vector<uint64_t> words;
    std::vector<uint64_t> keys;

    explicit Scratch(int64_t width)
        : block(block_rows(width) * width),
          sum(width),
          words(static_cast<size_t>(row_step * width / group)),
          keys(static_cast<size_t>(block_rows(width))) {}
};

class ScratchPool {
public:
    explicit ScratchPool(int64_t width) : width_(width) {}
    std::unique_ptr<Scratch> take() {
        const std::lock_guard lock(mutex_);
        if (free_.empty()) return std::make_unique<Scratch>(width_);
        auto scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
    }
    void give(std::unique_ptr<Scratch> scratch) {
        const std::lock_guard lock(mutex_);
        free_.push_back(std::move(scratch));
    }

private:
    int64_t width_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace

Scale scale_of(const MatrixView& matrix) {
    const int64_t rows_at_once = 16;
    const int64_t tasks = (matrix.rows + rows_at_once - 1) / rows_at_once;
    std::vector<double> largest(static_cast<size_t>(tasks), 0.0);
    parallel_for(tasks, [&](int64_t task) {
        double found = 0;
        const auto visit = [&](double value) { found = std::max(found, std::fabs(value)); };
        const int64_t end = std::min(matrix.rows, (task + 1) * rows_at_once);
        if (matrix.dtype == DType::float64) {
            for (int64_t row = task * rows_at_once; row < end; ++row)
                for (int64_t column = 0; column < matrix.columns; ++column)
                    visit(*static_cast<const double*>(matrix.at(row, column)));
        } else {
            const int64_t rows = end - task * rows_at_once;
            const int64_t height = round_up(rows, row_step);
            Floats block(height * matrix.columns);
            load_block(products(), matrix, task * rows_at_once, rows, 1.0, matrix.columns, block.data());
            float most = 0;
            for (int64_t i = 0; i < rows * matrix.columns; ++i) {
                const float magnitude = std::fabs(block.data()[i]);
                most = magnitude > most ? magnitude : most;
            }
            visit(static_cast<double>(most));
        }
        largest[static_cast<size_t>(task)] = found;
    });
    const double most = *std::max_element(largest.begin(), largest.end());
    if (most == 0) return {0, true};
    const int exponent = std::ilogb(most);
    return {std::abs(exponent) <= 20 ? 0 : std::clamp(exponent, -1000, 1000), false};
}

TopValues top_values(const MatrixView& matrix, const Scale& scale, const Start& start, double relative_tolerance) {
    const auto count = static_cast<size_t>(start.draws);
    TopValues result{std::vector<double>(count, 0.0), std::vector<double>(count, 0.0), std::vector<int64_t>(count, 0)};
    if (scale.zero) return result;

    const Products& table = products();
    const double factor = std::ldexp(1.0, -scale.exponent);
    const int64_t width = round_up(matrix.columns, group);
    const int64_t step = block_rows(width);
    const int64_t slab_rows = round_up(std::max((matrix.rows + most_slabs - 1) / most_slabs, step), step);
    const int64_t slabs = (matrix.rows + slab_rows - 1) / slab_rows;

    std::vector<Draw> draws;
    draws.reserve(count);
    for (size_t i = 0; i < count; ++i) draws.emplace_back(start.seed, start.first_draw + i, matrix.columns);
    std::vector<int64_t> active(count);
    for (size_t i = 0; i < count; ++i) active[i] = static_cast<int64_t>(i);
    Floats vectors(start.draws * width);
    std::fill_n(vectors.data(), start.draws * width, 0.0F);
    AlignedBuffer partial(slabs * start.draws * width);
    ScratchPool pool(width);

    while (!active.empty()) {
        const auto running = static_cast<int64_t>(active.size());
        for (const int64_t index : active) {
            const Draw& draw = draws[static_cast<size_t>(index)];
            for (int64_t i = 0; i < matrix.columns; ++i)
                vectors.data()[index * width + i] = static_cast<float>(draw.vector[static_cast<size_t>(i)]);
        }
        parallel_for(slabs, [&](int64_t slab) {
            auto scratch = pool.take();
            double* sums = partial.data() + slab * start.draws * width;
            std::fill_n(sums, running * width, 0.0);
            const int64_t end = std::min(matrix.rows, (slab + 1) * slab_rows);
            for (int64_t first = slab * slab_rows; first < end; first += step) {
                const int64_t rows = std::min(step, end - first);
                const int64_t height = round_up(rows, row_step);
                load_block(table, matrix, first, rows, factor, width, scratch->block.data());
                for (int64_t place = 0; place < running; ++place) {
                    const int64_t index = active[static_cast<size_t>(place)];
                    const uint64_t key = draws[static_cast<size_t>(index)].key;
                    for (int64_t row = 0; row < height; ++row)
                        scratch->keys[static_cast<size_t>(row)] =
                            counter::line_key(key, static_cast<uint64_t>(first + row));
                    float* sum = scratch->sum.data();
                    std::fill_n(sum, width, 0.0F);
                    table.accumulate(scratch->block.data(), height, width,
                                     start.flipped ? scratch->keys.data() : nullptr, vectors.data() + index * width,
                                     sum, scratch->words.data());
                    double* target = sums + place * width;
                    for (int64_t i = 0; i < matrix.columns; ++i) target[i] += static_cast<double>(sum[i]);
                }
            }
            pool.give(std::move(scratch));
        });
        parallel_for(running, [&](int64_t place) {
            std::vector<double> product(static_cast<size_t>(matrix.columns), 0.0);
            for (int64_t slab = 0; slab < slabs; ++slab) {
                const double* sums = partial.data() + (slab * start.draws + place) * width;
                for (int64_t i = 0; i < matrix.columns; ++i) product[static_cast<size_t>(i)] += sums[i];
            }
            draws[static_cast<size_t>(active[static_cast<size_t>(place)])].advance(product, relative_tolerance);
        });
        active.erase(std::remove_if(active.begin(), active.end(),
                                    [&](int64_t index) { return draws[static_cast<size_t>(index)].done; }),
                     active.end());
    }

    for (size_t i = 0; i < count; ++i) {
        const Tridiagonal& matrix_of_draw = draws[i].matrix;
        const double top = std::max(matrix_of_draw.top, 0.0);
        const double error = matrix_of_draw.residual + product_error * top;
        const double value = std::sqrt(top);
        result.values[i] = std::ldexp(value, scale.exponent);
        result.bounds[i] = std::ldexp(value - std::sqrt(std::max(0.0, top - error)), scale.exponent);
        result.steps[i] = static_cast<int64_t>(matrix_of_draw.diagonal.size());
    }
    return result;
}

}  // namespace lmscope::nulls
