#include "singular_values/vectors.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "runtime/aligned_buffer.h"
#include "runtime/products.h"
#include "runtime/thread_pool.h"
#include "singular_values/error_model.h"
#include "singular_values/gram.h"
#include "singular_values/qr.h"

namespace lmscope {
namespace {

using blas::Op;

// The triplets of all values, in memory of their own unless all are asked for.
struct AllTriplets : Triplets {
    explicit AllTriplets(const Triplets& asked) : Triplets(asked) {
        values.assign(static_cast<size_t>(columns), 0.0);
        if (asked.count() == columns) return;
        right_memory = AlignedBuffer(columns * columns);
        right = right_memory.data();
    }

    void open_left() {
        if (!right_memory) return;
        left_memory = AlignedBuffer(rows * columns);
        left = left_memory.data();
    }

    AlignedBuffer left_memory, right_memory;
};

// Column j becomes what column places[j] was.
void permute(int64_t rows, double* columns, const std::vector<int64_t>& places) {
    AlignedBuffer waiting(rows);
    std::vector<bool> settled(places.size());
    for (size_t start = 0; start < places.size(); ++start) {
        if (settled[start] || places[start] == static_cast<int64_t>(start)) continue;
        std::copy_n(columns + static_cast<int64_t>(start) * rows, rows, waiting.data());
        for (size_t at = start; !settled[at]; at = static_cast<size_t>(places[at])) {
            settled[at] = true;
            const bool last = places[at] == static_cast<int64_t>(start);
            std::copy_n(last ? waiting.data() : columns + places[at] * rows, rows,
                        columns + static_cast<int64_t>(at) * rows);
        }
    }
}

void copy_columns(int64_t rows, const double* columns, const std::vector<int64_t>& places, double* target) {
    for (size_t j = 0; j < places.size(); ++j)
        std::copy_n(columns + places[j] * rows, rows, target + static_cast<int64_t>(j) * rows);
}

// The triplets with the given ranks by descending value.
void select(const AllTriplets& all, const std::vector<int64_t>& ranks, Triplets& asked) {
    std::vector<int64_t> order(all.values.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return all.values[static_cast<size_t>(a)] > all.values[static_cast<size_t>(b)];
    });
    std::vector<int64_t> places;
    for (const int64_t rank : ranks) places.push_back(order[static_cast<size_t>(rank)]);
    for (size_t j = 0; j < places.size(); ++j) asked.values[j] = all.values[static_cast<size_t>(places[j])];
    if (all.right == asked.right) {
        permute(asked.rows, asked.left, places);
        permute(asked.columns, asked.right, places);
    } else {
        copy_columns(asked.rows, all.left, places, asked.left);
        copy_columns(asked.columns, all.right, places, asked.right);
    }
}

// left <- A right, values <- its column norms.
void multiply(const MatrixView& matrix, Triplets& triplets) {
    const int64_t rows = triplets.rows;
    const int64_t columns = triplets.columns;
    const int64_t count = triplets.count();
    std::vector<double> squares(static_cast<size_t>(count));
    int64_t first = 0;
    for_each_chunk(matrix, elements::chunk_rows(columns), triplets.exponent, [&](const elements::Chunk& chunk) {
        double* image = triplets.left + first;
        blocked_gemm(chunk.transposed ? Op::transpose : Op::none, chunk.rows, count, columns, 1.0, chunk.data,
                     chunk.stride, triplets.right, columns, 0.0, image, rows);
        parallel_for(count, [&](int64_t j) {
            double sum = 0;
            for (int64_t i = 0; i < chunk.rows; ++i) sum += image[i + j * rows] * image[i + j * rows];
            squares[static_cast<size_t>(j)] += sum;
        });
        first += chunk.rows;
    });
    for (size_t j = 0; j < squares.size(); ++j) triplets.values[j] = std::sqrt(squares[j]);
}

// Returns the largest value.
double by_gram(const MatrixView& matrix, const std::vector<int64_t>& ranks, Triplets& asked) {
    const int64_t order = matrix.columns;
    AllTriplets all(asked);
    {
        Gram gram(order);
        gram.add(matrix);
        std::copy_n(gram.triangle.data(), order * order, all.right);
    }
    std::vector<double> squares(static_cast<size_t>(order));
    blas::symmetric_eigenvectors(order, all.right, order, squares.data());
    for (int64_t j = 0; j < order / 2; ++j)
        std::swap_ranges(all.right + j * order, all.right + (j + 1) * order, all.right + (order - 1 - j) * order);
    std::reverse(squares.begin(), squares.end());
    if (all.right != asked.right &&
        squares[static_cast<size_t>(ranks.back())] >= direct_share * direct_share * squares.front()) {
        copy_columns(order, all.right, ranks, asked.right);
        multiply(matrix, asked);
        refine(asked);
        return std::sqrt(squares.front());
    }
    all.open_left();
    multiply(matrix, all);
    refine(all);
    select(all, ranks, asked);
    return *std::max_element(all.values.begin(), all.values.end());
}

void by_qr(const MatrixView& matrix, const std::vector<int64_t>& ranks, Triplets& asked) {
    const int64_t rows = matrix.rows;
    const int64_t order = matrix.columns;
    AllTriplets all(asked);
    all.open_left();
    AlignedBuffer right_transposed(order * order);
    {
        AlignedBuffer whole(rows * order);
        int64_t first = 0;
        for_each_chunk(matrix, elements::chunk_rows(order), asked.exponent, [&](const elements::Chunk& chunk) {
            copy_rows(chunk, order, whole.data() + first, rows);
            first += chunk.rows;
        });
        blas::svd(rows, order, whole.data(), rows, all.values.data(), all.left, right_transposed.data());
    }
    copy_rows({right_transposed.data(), order, order, true}, order, all.right, order);
    select(all, ranks, asked);
}

void zero_triplets(const std::vector<int64_t>& ranks, Triplets& asked) {
    std::fill_n(asked.left, asked.rows * asked.count(), 0.0);
    std::fill_n(asked.right, asked.columns * asked.count(), 0.0);
    for (int64_t j = 0; j < asked.count(); ++j) {
        const int64_t rank = ranks[static_cast<size_t>(j)];
        asked.left[rank + j * asked.rows] = 1.0;
        asked.right[rank + j * asked.columns] = 1.0;
    }
}

struct Check {
    std::vector<double> residuals;
    double orthogonality;

    bool within(double tolerated, double largest) const {
        return orthogonality <= tolerated &&
               *std::max_element(residuals.begin(), residuals.end()) <= tolerated * largest;
    }
};

Check check(const MatrixView& matrix, const Triplets& triplets) {
    return {measured_residuals(matrix, triplets),
            std::max(measured_orthogonality(triplets.rows, triplets.count(), triplets.left),
                     measured_orthogonality(triplets.columns, triplets.count(), triplets.right))};
}

}  // namespace

double reachable_tolerance(int64_t columns) {
    return error_model::unit_roundoff * (512.0 + 16.0 * std::sqrt(static_cast<double>(columns)));
}

SingularTriplets cpu_singular_vectors(const MatrixView& matrix, SpectrumMethod method, double tolerance,
                                      const std::vector<int64_t>& ranks, double* left, double* right) {
    Triplets asked{matrix.rows, matrix.columns, 0, left, right, std::vector<double>(ranks.size())};
    SingularTriplets result;
    result.method = method == SpectrumMethod::qr ? SpectrumMethod::qr : SpectrumMethod::gram;
    if (elements::is_zero(matrix)) {
        zero_triplets(ranks, asked);
        result.values = result.residuals = asked.values;
        return result;
    }
    asked.exponent = elements::scale_exponent(matrix);
    double largest = 0;
    if (result.method == SpectrumMethod::qr)
        by_qr(matrix, ranks, asked);
    else
        largest = by_gram(matrix, ranks, asked);
    Check checked = check(matrix, asked);
    if (method == SpectrumMethod::automatic && !checked.within(tolerance, largest)) {
        by_qr(matrix, ranks, asked);
        checked = check(matrix, asked);
        result.method = SpectrumMethod::qr;
    }
    for (size_t j = 0; j < ranks.size(); ++j) {
        result.values.push_back(std::ldexp(asked.values[j], asked.exponent));
        result.residuals.push_back(error_model::scaled_bound(checked.residuals[j], asked.exponent));
    }
    result.orthogonality = checked.orthogonality;
    return result;
}

void fix_signs(int64_t rows, int64_t columns, int64_t count, double* left, double* right) {
    parallel_for(count, [&](int64_t j) {
        double* vector = right + j * columns;
        const double* largest = std::max_element(
            vector, vector + columns, [](double a, double b) { return std::abs(a) < std::abs(b); });
        if (*largest >= 0) return;
        for (int64_t i = 0; i < columns; ++i) vector[i] = -vector[i];
        for (int64_t i = 0; i < rows; ++i) left[i + j * rows] = -left[i + j * rows];
    });
}

}  // namespace lmscope
