#include "lasso/homotopy.h"

#include <algorithm>
#include <cmath>

#include "lasso/factor.h"
#include "lasso/single_kernels.h"

namespace lmscope::lasso::single {
namespace {

// Shares of alpha_max: by how much the optimality conditions may be missed, and what is no step at all.
constexpr double most_violation = 1e-9;
constexpr double rounding_share = 1e-12;

class Path {
public:
    Path(int64_t count, const double* gram, int64_t stride, const double* correlations)
        : count_(count),
          gram_(gram),
          stride_(stride),
          correlations_(correlations),
          state_(static_cast<size_t>(count)),
          gradient_(correlations, correlations + count),
          rate_(static_cast<size_t>(count)) {}

    HomotopyPath follow(const HomotopySettings& settings);

private:
    enum State : int8_t { out, in, dependent };
    struct Event {
        double step;
        int64_t code;
    };

    const double* column(int64_t j) const { return gram_ + j * stride_; }
    bool enter(int64_t j);
    void leave(int64_t j);
    void set_direction();
    Event next(double bound) const;
    // Coefficients and gradient at `bound` from the Gram matrix, not from those before; false where they miss the
    // optimality conditions.
    bool move_to(double bound);

    int64_t count_;
    const double* gram_;
    int64_t stride_;
    const double* correlations_;
    std::vector<State> state_;
    std::vector<int64_t> active_;  // in the order of the factor
    std::vector<double> signs_;
    std::vector<double> w_;
    std::vector<double> direction_;
    std::vector<double> gradient_;  // X^T (y - X w)
    std::vector<double> rate_;      // how fast the gradient falls as the bound does
    Factor factor_;
    double largest_ = 0;
    int64_t left_ = -1;
};

bool Path::enter(int64_t j) {
    std::vector<double> products;
    for (const int64_t other : active_) products.push_back(column(j)[other]);
    if (!factor_.append(std::move(products), column(j)[j])) return false;
    state_[static_cast<size_t>(j)] = in;
    active_.push_back(j);
    signs_.push_back(gradient_[static_cast<size_t>(j)] < 0 ? -1.0 : 1.0);
    w_.push_back(0);
    left_ = -1;
    return true;
}

void Path::leave(int64_t j) {
    const auto place = std::find(active_.begin(), active_.end(), j) - active_.begin();
    active_.erase(active_.begin() + place);
    signs_.erase(signs_.begin() + place);
    w_.erase(w_.begin() + place);
    for (State& state : state_)
        if (state == dependent) state = out;
    state_[static_cast<size_t>(j)] = out;
    left_ = j;
    factor_.clear();
    for (size_t i = 0; i < active_.size(); ++i) {
        std::vector<double> products;
        for (size_t before = 0; before < i; ++before) products.push_back(column(active_[i])[active_[before]]);
        factor_.append(std::move(products), column(active_[i])[active_[i]]);
    }
}

void Path::set_direction() {
    direction_ = signs_;
    factor_.solve(direction_);
    std::fill(rate_.begin(), rate_.end(), 0.0);
    for (size_t i = 0; i < active_.size(); ++i) loops().axpy(count_, direction_[i], column(active_[i]), rate_.data());
}

Path::Event Path::next(double bound) const {
    Event found{bound, count_};
    for (size_t i = 0; i < active_.size(); ++i) {
        if (signs_[i] * direction_[i] >= 0) continue;
        const double step = std::fabs(w_[i] / direction_[i]);
        if (step < found.step) found = {step, -1 - active_[i]};
    }
    for (int64_t j = 0; j < count_; ++j) {
        const auto index = static_cast<size_t>(j);
        if (state_[index] != out || column(j)[j] <= 0) continue;
        for (const double side : {1.0, -1.0}) {
            const double speed = 1.0 - side * rate_[index];
            const double toward = side * gradient_[index];
            if (speed <= rounding_share || (j == left_ && toward > 0)) continue;
            const double step = std::max(bound - toward, 0.0) / speed;
            if (step < found.step - rounding_share * largest_) found = {step, j};
        }
    }
    return found;
}

bool Path::move_to(double bound) {
    std::vector<double> right;
    for (size_t i = 0; i < active_.size(); ++i) right.push_back(correlations_[active_[i]] - bound * signs_[i]);
    std::fill(w_.begin(), w_.end(), 0.0);
    std::copy_n(correlations_, count_, gradient_.begin());
    // Twice where once is not enough: the second solution refines the first.
    for (int pass = 0; pass < 2; ++pass) {
        factor_.solve(right);
        for (size_t i = 0; i < active_.size(); ++i) {
            w_[i] += right[i];
            loops().axpy(count_, -right[i], column(active_[i]), gradient_.data());
        }
        double violation = 0;
        for (const double value : gradient_) violation = std::max(violation, std::fabs(value) - bound);
        for (size_t i = 0; i < active_.size(); ++i) {
            right[i] = gradient_[static_cast<size_t>(active_[i])] - bound * signs_[i];
            violation = std::max(violation, std::fabs(right[i]));
        }
        if (violation <= most_violation * largest_) return true;
    }
    return false;
}

HomotopyPath Path::follow(const HomotopySettings& settings) {
    HomotopyPath path;
    for (const double value : gradient_) largest_ = std::max(largest_, std::fabs(value));
    double bound = largest_;
    const auto record = [&] {
        path.alphas.push_back(bound);
        if (!settings.keep_coefs) return;
        path.coefs.resize(path.coefs.size() + static_cast<size_t>(count_));
        // A coefficient that is zero but for rounding may have the wrong sign.
        for (size_t i = 0; i < active_.size(); ++i)
            path.coefs[path.coefs.size() - static_cast<size_t>(count_ - active_[i])] =
                signs_[i] * std::max(signs_[i] * w_[i], 0.0);
    };
    record();
    // Of several columns at the bound the lowest enters first.
    Event event{0, 0};
    while (event.code < count_ && std::fabs(gradient_[static_cast<size_t>(event.code)]) < bound * (1 - rounding_share))
        ++event.code;
    while (bound > 0) {
        if (static_cast<int64_t>(path.events.size()) >= settings.most_events) return path;
        if (event.code >= 0 && !enter(event.code)) {
            state_[static_cast<size_t>(event.code)] = dependent;
            path.dependent.push_back(event.code);
        }
        if (static_cast<int64_t>(active_.size()) > settings.most_nonzeros) return path;
        const bool knot = event.code < 0 || state_[static_cast<size_t>(event.code)] == in;
        const int64_t code = event.code;
        const double sign = code < 0 ? 0 : signs_.back();
        set_direction();
        event = next(bound);
        bound -= event.step;
        if (event.code == count_ || bound <= rounding_share * largest_) {
            bound = 0;
            event.code = count_;
        }
        if (event.code < 0) leave(-1 - event.code);
        if (!move_to(bound)) {
            path.end = PathEnd::rounding;
            return path;
        }
        if (knot) {
            path.events.push_back(code);
            path.signs.push_back(sign);
        } else {
            // The segment before goes on.
            path.alphas.pop_back();
            if (settings.keep_coefs) path.coefs.resize(path.coefs.size() - static_cast<size_t>(count_));
        }
        record();
    }
    path.end = PathEnd::alpha_zero;
    return path;
}

}  // namespace

HomotopyPath follow_path(int64_t count, const double* gram, int64_t stride, const double* correlations,
                         const HomotopySettings& settings) {
    return Path(count, gram, stride, correlations).follow(settings);
}

}  // namespace lmscope::lasso::single
