#include "lasso/working_set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lasso/single_kernels.h"
#include "runtime/blas.h"
#include "runtime/thread_pool.h"

namespace lmscope::lasso::single {
namespace {

constexpr int64_t gram_block = 128;
// Sweeps over the support after each one over all columns.
constexpr int64_t support_sweeps = 4;
// In a row, where each but the last one ends at a coefficient's change of sign.
constexpr int most_newton_steps = 16;
// Added to the diagonal as a share of it: dependent columns then move together until one of them reaches zero.
constexpr double ridge = 1e-10;
// Of the objective, as a share of ||y||^2.
constexpr double objective_rounding = 0x1p-48;

}  // namespace

WorkingSet::WorkingSet(const Design& design, std::vector<double> correlations, double target_square)
    : design_(design),
      correlations_(std::move(correlations)),
      target_square_(target_square),
      held_(static_cast<size_t>(design.columns())) {}

void WorkingSet::add(const std::vector<int64_t>& columns) {
    const int64_t before = size(), after = before + static_cast<int64_t>(columns.size()), rows = design_.rows();
    if (after > capacity_) {
        capacity_ = std::min(design_.columns(), std::max(after, 2 * capacity_));
        AlignedBuffer data(rows * capacity_);
        std::copy_n(data_.data(), rows * before, data.data());
        data_ = std::move(data);
    }
    design_.copy_columns(columns, data_.data() + before * rows);
    for (const int64_t column : columns) {
        columns_.push_back(column);
        held_[static_cast<size_t>(column)] = 1;
        known_.push_back(correlations_[static_cast<size_t>(column)]);
    }
    w_.resize(static_cast<size_t>(padded()));
    q_.resize(static_cast<size_t>(padded()));
}

void WorkingSet::extend_gram() {
    const int64_t before = gram_size_, rows = design_.rows();
    if (size() > gram_stride_) {
        const int64_t wanted = std::max(size(), std::min(2 * gram_stride_, capacity_));
        const int64_t stride = (wanted + lanes - 1) / lanes * lanes;
        AlignedBuffer gram(stride * stride);
        std::fill_n(gram.data(), stride * stride, 0.0);
        for (int64_t j = 0; j < before; ++j)
            std::copy_n(gram_.data() + j * gram_stride_, before, gram.data() + j * stride);
        gram_ = std::move(gram);
        gram_stride_ = stride;
    }
    const int64_t first_block = before / gram_block, blocks = (size() + gram_block - 1) / gram_block;
    // Rows in blocks of the whole set against columns in blocks of the new part, the lower triangle of it.
    parallel_for((blocks - first_block) * blocks, [&](int64_t task) {
        const int64_t row = task % blocks * gram_block, column_block = first_block + task / blocks;
        const int64_t column = std::max(before, column_block * gram_block);
        const int64_t width = std::min(size(), (column_block + 1) * gram_block) - column;
        if (width <= 0 || row >= column + width) return;
        blas::gemm(blas::Op::transpose, blas::Op::none, std::min(gram_block, size() - row), width, rows, 1.0,
                   data_.data() + row * rows, rows, data_.data() + column * rows, rows, 0.0,
                   gram_.data() + row + column * gram_stride_, gram_stride_);
    });
    for (int64_t column = before; column < size(); ++column)
        for (int64_t row = 0; row < column; ++row)
            gram_[column + row * gram_stride_] = gram_[row + column * gram_stride_];
    gram_size_ = size();
    spent_ = 0;
}

std::vector<int64_t> WorkingSet::support() const {
    std::vector<int64_t> found;
    for (int64_t j = 0; j < size(); ++j)
        if (w_[static_cast<size_t>(j)] != 0) found.push_back(j);
    return found;
}

int64_t WorkingSet::nonzeros() const { return static_cast<int64_t>(support().size()); }

void WorkingSet::gradient_from_gram() {
    q_.assign(static_cast<size_t>(padded()), 0.0);
    std::copy(known_.begin(), known_.end(), q_.begin());
    for (const int64_t j : support())
        loops().axpy(padded(), -w_[static_cast<size_t>(j)], gram_.data() + j * gram_stride_, q_.data());
}

void WorkingSet::refresh(const std::vector<double>& residual, const std::vector<double>& products) {
    residual_ = residual;
    for (size_t j = 0; j < columns_.size(); ++j) q_[j] = products[static_cast<size_t>(columns_[j])];
}

void WorkingSet::residual(const double* target, double* residual) const {
    const int64_t rows = design_.rows();
    constexpr int64_t rows_per_task = 1024;
    const std::vector<int64_t> nonzero = support();
    parallel_for((rows + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
        const int64_t first = task * rows_per_task, count = std::min(rows_per_task, rows - first);
        std::copy_n(target + first, count, residual + first);
        for (const int64_t j : nonzero)
            loops().axpy(count, -w_[static_cast<size_t>(j)], data_.data() + j * rows + first, residual + first);
    });
}

void WorkingSet::write(double* coef) const {
    std::fill_n(coef, design_.columns(), 0.0);
    for (size_t j = 0; j < columns_.size(); ++j) coef[columns_[j]] = w_[j];
}

// All from scalars: r'r = y'y - w'(c + q), y'r = y'y - w'c; the gap in the form of csrc/lasso/certificate.cpp.
WorkingSet::State WorkingSet::state(double bound) const {
    double known = 0, fit = 0, norm = 0, largest = 0;
    for (size_t j = 0; j < known_.size(); ++j) {
        largest = std::max(largest, std::fabs(q_[j]));
        if (w_[j] == 0) continue;
        known += w_[j] * known_[j];
        fit += w_[j] * q_[j];
        norm += std::fabs(w_[j]);
    }
    const double s = largest > bound ? bound / largest : 1.0;
    const double gap = 0.5 * (1 - s) * (1 - s) * (target_square_ - known) + (bound * norm - 0.5 * (1 + s * s) * fit);
    return {gap, 0.5 * (target_square_ - known - fit) + bound * norm};
}

WorkingSet::Newton WorkingSet::solve_on_support(double bound) {
    const std::vector<int64_t> nonzero = support();
    const auto count = static_cast<int64_t>(nonzero.size());
    if (count == 0) return Newton::none;
    AlignedBuffer gram(count * count), target(count);
    for (int64_t a = 0; a < count; ++a) {
        const int64_t column = nonzero[static_cast<size_t>(a)];
        for (int64_t b = a; b < count; ++b)
            gram[b + a * count] = gram_[nonzero[static_cast<size_t>(b)] + column * gram_stride_];
        gram[a + a * count] *= 1 + ridge;
        target[a] = q_[static_cast<size_t>(column)] - std::copysign(bound, w_[static_cast<size_t>(column)]);
    }
    if (!blas::cholesky_lower(count, gram.data(), count)) return Newton::none;
    blas::solve_lower(blas::Op::none, count, 1, gram.data(), count, target.data(), count);
    blas::solve_lower(blas::Op::transpose, count, 1, gram.data(), count, target.data(), count);
    for (int64_t a = 0; a < count; ++a) target[a] += w_[static_cast<size_t>(nonzero[static_cast<size_t>(a)])];
    double step = 1;
    for (int64_t a = 0; a < count; ++a) {
        const double from = w_[static_cast<size_t>(nonzero[static_cast<size_t>(a)])];
        if (from * target[a] < 0) step = std::min(step, from / (from - target[a]));
    }
    const std::vector<double> w = w_, q = q_;
    const double before = state(bound).objective;
    const auto rise = [&](auto&& moved) {
        for (int64_t a = 0; a < count; ++a) {
            const auto at = static_cast<size_t>(nonzero[static_cast<size_t>(a)]);
            w_[at] = moved(w[at], target[a]);
        }
        gradient_from_gram();
        return state(bound).objective - before;
    };
    if (step == 1 && rise([](double, double to) { return to; }) < 0) return Newton::whole;
    // All that would change their sign to zero at once, or else as far as the first of them.
    if (step < 1 && rise([](double from, double to) { return from * to < 0 ? 0.0 : to; }) < 0) return Newton::cut;
    // The latter may fall by less than rounding where a tiny coefficient ends it.
    if (step < 1 && rise([step](double from, double to) {
                        return from * to < 0 && from / (from - to) <= step ? 0.0 : from + step * (to - from);
                    }) <= objective_rounding * target_square_)
        return Newton::cut;
    w_ = w;
    q_ = q;
    return Newton::none;
}

bool WorkingSet::sweep_residual(const std::vector<int64_t>& order, double bound) {
    const int64_t rows = design_.rows();
    bool changed = false;
    for (const int64_t index : order) {
        const auto j = static_cast<size_t>(index);
        const double* column = data_.data() + index * rows;
        const double square = design_.squares()[static_cast<size_t>(columns_[j])];
        const double rho = loops().dot(rows, column, residual_.data()) + square * w_[j];
        const double target = rho > bound ? (rho - bound) / square : rho < -bound ? (rho + bound) / square : 0.0;
        spent_ += static_cast<double>(2 * rows);
        if (target == w_[j]) continue;
        loops().axpy(rows, w_[j] - target, column, residual_.data());
        spent_ += static_cast<double>(2 * rows);
        w_[j] = target;
        changed = true;
    }
    return changed;
}

WorkingSet::Descent WorkingSet::descend_on_residual(double bound, double gap, int64_t most, int64_t& sweeps) {
    const int64_t rows = design_.rows();
    std::vector<int64_t> all(columns_.size());
    std::iota(all.begin(), all.end(), int64_t{0});
    const auto price = static_cast<double>(rows * (size() * size() - gram_size_ * gram_size_));
    for (;;) {
        if (state(bound).gap <= gap) return Descent::reached;
        if (sweeps >= most) return Descent::stuck;
        if (spent_ >= price) return Descent::dear;
        ++sweeps;
        bool changed = sweep_residual(all, bound);
        const std::vector<int64_t> nonzero = support();
        for (int64_t i = 0; i < support_sweeps && sweeps < most && changed; ++i) {
            ++sweeps;
            if (!sweep_residual(nonzero, bound)) break;
        }
        for (int64_t j = 0; j < size(); ++j)
            q_[static_cast<size_t>(j)] = loops().dot(rows, data_.data() + j * rows, residual_.data());
        spent_ += static_cast<double>(2 * rows * size());
        if (!changed) return Descent::stuck;
    }
}

int64_t WorkingSet::descend(double bound, double gap, int64_t most) {
    std::vector<int64_t> all(columns_.size());
    std::iota(all.begin(), all.end(), int64_t{0});
    const auto sweep = [&](const std::vector<int64_t>& order) {
        return loops().sweep(order.data(), static_cast<int64_t>(order.size()), padded(), gram_.data(), gram_stride_,
                             bound, w_.data(), q_.data());
    };
    int64_t sweeps = 0;
    if (gram_size_ < size()) {
        if (descend_on_residual(bound, gap, most, sweeps) != Descent::dear) return sweeps;
        extend_gram();
    }
    int64_t last_solve = sweeps, pause = 1;
    while (sweeps < most && state(bound).gap > gap) {
        ++sweeps;
        if (!sweep(all)) break;
        const std::vector<int64_t> nonzero = support();
        for (int64_t i = 0; i < support_sweeps && sweeps < most; ++i) {
            ++sweeps;
            if (!sweep(nonzero)) break;
        }
        // Solving takes count^3 / 3 operations, a sweep 2 count size of those that wait for memory.
        const int64_t count = std::ssize(nonzero);
        if (sweeps - last_solve < pause * (support_sweeps + count * count / (24 * size()))) continue;
        Newton newton = solve_on_support(bound);
        pause = newton == Newton::none ? std::min<int64_t>(2 * pause, 8) : 1;
        for (int i = 1; i < most_newton_steps && newton == Newton::cut; ++i) newton = solve_on_support(bound);
        last_solve = sweeps;
    }
    return sweeps;
}

}  // namespace lmscope::lasso::single
