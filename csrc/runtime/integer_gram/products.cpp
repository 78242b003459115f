#include <algorithm>

#include "runtime/aligned_buffer.h"
#include "runtime/integer_gram/integer_gram.h"
#include "runtime/lower_blocks.h"
#include "runtime/thread_pool.h"

namespace lmscope::integer_gram {
namespace {

// A block of the result is 8 x 8 panels: its sums and the left digits of 384 rows lie in the second-level cache.
constexpr int64_t side = 8;
constexpr int64_t quads_at_once = 96;

struct Workspace {
    AlignedBuffer sums{side * side * weights * pair_size / 2};
    AlignedBuffer left{side * quads_at_once * quad_bytes / 8};
    AlignedBuffer rest{side * side * pair_size};

    int32_t* sums_of(int64_t i, int64_t j) {
        return reinterpret_cast<int32_t*>(sums.data()) + (i * side + j) * weights * pair_size;
    }
    int8_t* left_of(int64_t j) { return reinterpret_cast<int8_t*>(left.data()) + j * quads_at_once * quad_bytes; }
    double* rest_of(int64_t i, int64_t j) { return rest.data() + (i * side + j) * pair_size; }
};

// Panels [i, i_end) are the rows of a block, [j, j_end) its columns.
struct Range {
    int64_t i, i_end, j, j_end;

    template <typename Visit>
    void for_each_pair(Visit&& visit) const {
        for (int64_t p = i; p < i_end; ++p)
            for (int64_t q = j; q < std::min(j_end, p + 1); ++q) visit(p, q);
    }
};

void multiply_digits(const Panels& panels, const Range& range, const Products& products, Workspace& workspace) {
    range.for_each_pair([&](int64_t p, int64_t q) {
        std::fill_n(workspace.sums_of(p - range.i, q - range.j), weights * pair_size, 0);
    });
    if (products.enter != nullptr) products.enter();
    for (int64_t first = 0; first < panels.quads(); first += quads_at_once) {
        const int64_t quads = std::min(quads_at_once, panels.quads() - first);
        for (int64_t q = range.j; q < range.j_end; ++q)
            products.prepare(panels.digits(q) + first * quad_bytes, quads, workspace.left_of(q - range.j));
        range.for_each_pair([&](int64_t p, int64_t q) {
            products.multiply(workspace.left_of(q - range.j), panels.digits(p) + first * quad_bytes, quads,
                              workspace.sums_of(p - range.i, q - range.j));
        });
    }
    if (products.leave != nullptr) products.leave();
}

// Brings a panel into the second-level cache line after line: leftovers then pick rows from it in an order that no
// hardware foresees. Loads, as prefetches are dropped where too many are under way.
void fetch(const Panels& panels, int64_t p) {
    const uint16_t* elements = panels.elements(p);
    unsigned sum = 0;
    for (int64_t row = 0; row < panels.rows(); ++row) sum += elements[row * panel_columns];
    asm volatile("" : : "r"(sum));
}

// With X = Q + R, integers and leftovers, X^T X = Q^T Q + R^T X + Q^T R: row i and column j get R_j^T X_i and R_i^T
// Q_j. Two sweeps, so that one panel of X or Q stays in the second-level cache for all panels of the other side.
void multiply_leftovers(const Panels& panels, const Range& range, Workspace& workspace) {
    const auto& rest_of = panels.type().rest;
    for (int64_t p = range.i; p < range.i_end; ++p) {
        fetch(panels, p);
        for (int64_t q = range.j; q < std::min(range.j_end, p + 1); ++q) {
            double* rest = workspace.rest_of(p - range.i, q - range.j);
            for (int64_t j = 0; j < panel_columns; ++j)
                rest_of(panels.leftovers(q, j), panels.leftovers_of(q, j), panels.elements(p), nullptr,
                        rest + j * panel_columns);
        }
    }
    for (int64_t q = range.j; q < range.j_end; ++q) {
        fetch(panels, q);
        for (int64_t p = std::max(q, range.i); p < range.i_end; ++p) {
            double* rest = workspace.rest_of(p - range.i, q - range.j);
            for (int64_t i = 0; i < panel_columns; ++i) {
                double sums[panel_columns];
                rest_of(panels.leftovers(p, i), panels.leftovers_of(p, i), panels.elements(q), panels.masks(q), sums);
                for (int64_t j = 0; j < panel_columns; ++j) rest[i + j * panel_columns] += sums[j];
            }
        }
    }
}

}  // namespace

void add_products(const Panels& panels, int64_t columns, const Splitting& splitting, const Products& products,
                  double* gram) {
    const int64_t blocks = (panels.count() + side - 1) / side;
    parallel_for(lower_blocks(blocks), [&](int64_t task) {
        thread_local Workspace workspace;
        const auto [row, column] = lower_block(task);
        const Range range = {row * side, std::min(panels.count(), (row + 1) * side), column * side,
                             std::min(panels.count(), (column + 1) * side)};
        multiply_digits(panels, range, products, workspace);
        multiply_leftovers(panels, range, workspace);
        range.for_each_pair([&](int64_t p, int64_t q) {
            const Block block = {workspace.sums_of(p - range.i, q - range.j),
                                 panels.high_sums(p),
                                 panels.low_sums(p),
                                 products.offset,
                                 panels.unit(p),
                                 panels.unit(q),
                                 workspace.rest_of(p - range.i, q - range.j),
                                 std::min(panel_columns, columns - p * panel_columns),
                                 std::min(panel_columns, columns - q * panel_columns),
                                 p == q};
            splitting.finish(block, gram + p * panel_columns + q * panel_columns * columns, columns);
        });
    });
}

}  // namespace lmscope::integer_gram
