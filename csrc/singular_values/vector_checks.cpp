#include <algorithm>
#include <cmath>

#include "runtime/gram/gram.h"
#include "runtime/products.h"
#include "runtime/thread_pool.h"
#include "singular_values/vectors.h"

namespace lmscope {

using blas::Op;

std::vector<double> measured_residuals(const MatrixView& matrix, const Triplets& triplets) {
    const int64_t columns = triplets.columns;
    const int64_t count = triplets.count();
    const int64_t at_once = elements::chunk_rows(columns);
    std::vector<double> forward(static_cast<size_t>(count));
    AlignedBuffer image(std::min(at_once, triplets.rows) * count), back(columns * count);
    std::fill_n(back.data(), columns * count, 0.0);
    int64_t first = 0;
    for_each_chunk(matrix, at_once, triplets.exponent, [&](const elements::Chunk& chunk) {
        const double* left = triplets.left + first;
        blocked_gemm(chunk.transposed ? Op::transpose : Op::none, chunk.rows, count, columns, 1.0, chunk.data,
                     chunk.stride, triplets.right, columns, 0.0, image.data(), chunk.rows);
        parallel_for(count, [&](int64_t j) {
            const auto at = static_cast<size_t>(j);
            double sum = 0;
            for (int64_t i = 0; i < chunk.rows; ++i) {
                const double miss = image[i + j * chunk.rows] - triplets.values[at] * left[i + j * triplets.rows];
                sum += miss * miss;
            }
            forward[at] += sum;
        });
        blocked_gemm(chunk.transposed ? Op::none : Op::transpose, columns, count, chunk.rows, 1.0, chunk.data,
                     chunk.stride, left, triplets.rows, 1.0, back.data(), columns);
        first += chunk.rows;
    });
    parallel_for(count, [&](int64_t j) {
        const auto at = static_cast<size_t>(j);
        double sum = 0;
        for (int64_t i = 0; i < columns; ++i) {
            const double miss = back[i + j * columns] - triplets.values[at] * triplets.right[i + j * columns];
            sum += miss * miss;
        }
        forward[at] = std::sqrt(std::max(forward[at], sum));
    });
    return forward;
}

double measured_orthogonality(int64_t rows, int64_t columns, const double* vectors) {
    AlignedBuffer products(columns * columns);
    upper_products(rows, columns, columns, vectors, products.data());
    double worst = 0;
    for (int64_t j = 0; j < columns; ++j)
        for (int64_t i = 0; i <= j; ++i)
            worst = std::max(worst, std::abs(products[i + j * columns] - (i == j ? 1.0 : 0.0)));
    return worst;
}

}  // namespace lmscope
