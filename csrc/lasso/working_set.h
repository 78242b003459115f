#pragma once

#include <cstdint>
#include <vector>

#include "lasso/design.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::lasso::single {

// The columns of a design that a problem has needed so far, in float64, and the coefficients on them. Descends on the
// residual until that has cost as much as the columns' Gram matrix would, and on the latter from then on. Objective
// ||y - X w||^2 / 2 + bound ||w||_1.
class WorkingSet {
public:
    // `correlations` is X^T y.
    WorkingSet(const Design& design, std::vector<double> correlations, double target_square);

    // Ascending or not; none may be there already, none may be zero.
    void add(const std::vector<int64_t>& columns);
    // Descends until the gap of the problem on these columns is at most `gap`, `most` sweeps are done, or a sweep
    // changes nothing; returns the sweeps.
    int64_t descend(double bound, double gap, int64_t most);
    // Takes y - X w and the gradient of the kept columns, X^T (y - X w), free of what descending has added to them.
    void refresh(const std::vector<double>& residual, const std::vector<double>& products);

    bool holds(int64_t column) const { return held_[static_cast<size_t>(column)] != 0; }
    int64_t size() const { return static_cast<int64_t>(columns_.size()); }
    int64_t nonzeros() const;
    // residual = target - X w
    void residual(const double* target, double* residual) const;
    void write(double* coef) const;

private:
    struct State {
        double gap;
        double objective;
    };
    State state(double bound) const;
    std::vector<int64_t> support() const;
    enum class Descent { reached, stuck, dear };
    // `dear` where it has cost what the Gram matrix would; adds its sweeps to `sweeps`.
    Descent descend_on_residual(double bound, double gap, int64_t most, int64_t& sweeps);
    bool sweep_residual(const std::vector<int64_t>& order, double bound);
    void extend_gram();
    enum class Newton { none, cut, whole };
    // Moves towards the minimum over the present support and signs; `cut` where coefficients that would change their
    // sign went to zero instead, `none` where the objective would not fall and nothing moves.
    Newton solve_on_support(double bound);
    void gradient_from_gram();
    int64_t padded() const { return (size() + 7) / 8 * 8; }

    const Design& design_;
    std::vector<double> correlations_;
    double target_square_;
    std::vector<int64_t> columns_;
    std::vector<uint8_t> held_;
    int64_t capacity_ = 0;
    AlignedBuffer data_;  // rows x capacity
    int64_t gram_size_ = 0;
    int64_t gram_stride_ = 0;
    AlignedBuffer gram_;  // gram_stride x gram_stride, padded with zeros
    double spent_ = 0;    // operations of sweeps on the residual since the Gram matrix has grown
    std::vector<double> residual_;
    std::vector<double> known_;  // X^T y on the set
    std::vector<double> w_;
    std::vector<double> q_;
};

}  // namespace lmscope::lasso::single
