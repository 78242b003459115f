#include <algorithm>
#include <cmath>
#include <string>

#include "lasso/certificate.h"
#include "lasso/design.h"
#include "lasso/single_kernels.h"
#include "lasso/working_set.h"
#include "lmscope/error.h"
#include "lmscope/lasso_path.h"

namespace lmscope {
namespace {

using lasso::single::Design;
using lasso::single::WorkingSet;

constexpr int64_t least_set = 100;
constexpr double missing_share = 0.05;

double largest(const std::vector<double>& values) {
    double found = 0;
    for (const double value : values) found = std::max(found, std::fabs(value));
    return found;
}

// ||y - X w||^2 / 2 + bound ||w||_1 at one bound after the other, each from the solution before.
class Problem {
public:
    // `target` holds y, centred where `centred` says so.
    Problem(const Design& x, const Design& target, bool centred, std::vector<double> y,
            const std::vector<double>& correlations)
        : x_(x),
          y_(std::move(y)),
          centred_(centred),
          norms_(x.squares()),
          gradient_(correlations),
          residual_(y_),
          coef_(norms_.size()),
          set_(x, correlations, target.squares()[0]),
          last_bound_(largest(correlations)) {
        for (double& norm : norms_) norm = std::sqrt(norm);
        with_offsets_ = norms_;
        target_norm_ = std::sqrt(target.squares()[0]);
        if (!centred) return;
        // By how far a computed mean may miss, along the vector of ones.
        const double share = lasso::rounding(x.rows() + 2) * std::sqrt(static_cast<double>(x.rows()));
        for (size_t j = 0; j < norms_.size(); ++j) with_offsets_[j] += share * std::fabs(x.means()[j]);
        target_norm_ += share * std::fabs(target.means()[0]);
    }

    struct Solved {
        double gap;
        int64_t sweeps;
    };

    // The gap of the coefficients as they are.
    Solved stay(double bound) { return {certify(bound).upper, 0}; }

    // Descends on working sets until the gap over all columns is at most `target`, or `most` sweeps are done.
    Solved solve(double bound, double target, int64_t most) {
        int64_t sweeps = 0;
        double share = 0.3;
        // The sequential strong rule; what it misses shows in the certificate.
        std::vector<int64_t> wanted = closest(bound, 1.0, std::max(0.0, 2 * bound - last_bound_));
        last_bound_ = bound;
        double gap_before = target / missing_share;
        for (;;) {
            set_.add(wanted);
            set_.refresh(residual_, gradient_);
            // No use in solving to the end while columns are missing.
            const double goal = wanted.empty() ? share * target : std::max(share * target, missing_share * gap_before);
            sweeps += set_.descend(bound, goal, most - sweeps);
            const lasso::Gap gap = certify(bound);
            if (gap.upper <= target || sweeps >= most) return {gap.upper, sweeps};
            gap_before = gap.upper;
            const bool last = wanted.empty();
            wanted = closest(bound, gap.scale, bound);
            // Nothing is missing: the gap of the Gram form is to fall further before that of the residual does.
            if (last && wanted.empty() && (share *= 0.1) < 1e-6) return {gap.upper, sweeps};
        }
    }

    const std::vector<double>& coef() const { return coef_; }

private:
    lasso::Gap certify(double bound) {
        const int64_t rows = x_.rows();
        set_.residual(y_.data(), residual_.data());
        if (centred_) {
            double mean = 0;
            for (const double value : residual_) mean += value;
            mean /= static_cast<double>(rows);
            for (double& value : residual_) value -= mean;
        }
        gradient_ = x_.products(residual_.data());
        set_.write(coef_.data());
        const double product = lasso::single::loops().dot(rows, y_.data(), residual_.data());
        // Centring rounds each element of x, y and the residual, whose mean is then zero up to gamma_(rows + 2).
        const double error = lasso::rounding(set_.nonzeros() + 2) + lasso::rounding(rows + 16) +
                             (centred_ ? lasso::rounding(rows + 8) : 0.0);
        return lasso::duality_gap(
            {x_.columns(), gradient_.data(), coef_.data(), with_offsets_.data(), target_norm_, product, bound, error});
    }

    // Columns to add where some outside the set have a gradient above `threshold`: those that come closest to the dual
    // constraint `bound` (celer's order), as many as are above unless the set outgrows twice its support.
    std::vector<int64_t> closest(double bound, double scale, double threshold) const {
        std::vector<std::pair<double, int64_t>> found;
        int64_t above = 0;
        for (int64_t j = 0; j < x_.columns(); ++j) {
            const auto index = static_cast<size_t>(j);
            if (set_.holds(j) || norms_[index] == 0) continue;
            const double size = std::fabs(gradient_[index]);
            above += size > threshold ? 1 : 0;
            found.emplace_back((bound - scale * size) / norms_[index], j);
        }
        if (above == 0) return {};
        const int64_t whole = std::max(least_set, 2 * set_.nonzeros());
        const int64_t count = std::min(above, std::max(whole - set_.size(), whole / 2));
        std::nth_element(found.begin(), found.begin() + count - 1, found.end());
        std::vector<int64_t> columns;
        for (int64_t i = 0; i < count; ++i) columns.push_back(found[static_cast<size_t>(i)].second);
        std::sort(columns.begin(), columns.end());
        return columns;
    }

    const Design& x_;
    std::vector<double> y_;
    bool centred_;
    double target_norm_;
    std::vector<double> norms_;
    std::vector<double> with_offsets_;
    std::vector<double> gradient_;
    std::vector<double> residual_;
    std::vector<double> coef_;
    WorkingSet set_;
    double last_bound_;
};

}  // namespace

LassoPath lasso_path(const MatrixView& x, const MatrixView& y, const LassoPathSettings& settings) {
    lasso::single::require_problem(x, y);
    for (const double alpha : settings.alphas)
        if (!(alpha > 0 && std::isfinite(alpha)))
            throw InvalidArgument(std::string(settings.relative ? "alpha_ratio" : "alpha") +
                                  " must be above 0 and finite, got " + std::to_string(alpha) +
                                  "; without a penalty this is least squares (numpy.linalg.lstsq)");
    if (!(settings.tol > 0 && settings.tol < 1))
        throw InvalidArgument("tol must lie between 0 and 1, got " + std::to_string(settings.tol));
    if (settings.max_iter < 1)
        throw InvalidArgument("max_iter must be at least 1, got " + std::to_string(settings.max_iter));

    const Design design(x, settings.fit_intercept, "x");
    const Design target(y, settings.fit_intercept, "y");
    std::vector<double> centred(static_cast<size_t>(y.rows));
    target.copy_columns({0}, centred.data());
    const double square = target.squares()[0];
    const std::vector<double> correlations = design.products(centred.data());
    const auto samples = static_cast<double>(x.rows);
    const int exponent = design.exponent() + target.exponent();

    LassoPath path;
    const double largest_bound = largest(correlations);
    path.alpha_max = std::ldexp(largest_bound / samples, exponent);
    lasso::single::require_scale(target, square, largest_bound, path.alpha_max);
    Problem problem(design, target, settings.fit_intercept, std::move(centred), correlations);
    for (const double wanted : settings.alphas) {
        const double alpha = settings.relative ? wanted * path.alpha_max : wanted;
        if (largest_bound > 0 && !std::isnormal(alpha))
            throw InvalidArgument((settings.relative ? "alpha_ratio times alpha_max" : "alpha") +
                                  std::string(alpha < 1 ? " falls below" : " exceeds") + " the range of float64, got " +
                                  std::to_string(wanted));
        const double bound = settings.relative ? wanted * largest_bound : std::ldexp(alpha, -exponent) * samples;
        const Problem::Solved solved = bound < largest_bound
                                           ? problem.solve(bound, settings.tol * square, settings.max_iter)
                                           : problem.stay(bound);
        path.alphas.push_back(alpha);
        path.gaps.push_back(std::ldexp(solved.gap / samples, 2 * target.exponent()));
        path.n_iter.push_back(solved.sweeps);
        path.converged.push_back(solved.gap <= settings.tol * square);
        double intercept = std::ldexp(target.means()[0], target.exponent());
        for (size_t j = 0; j < problem.coef().size(); ++j) {
            const double coef = problem.coef()[j];
            path.coefs.push_back(std::ldexp(coef, target.exponent() - design.exponent()));
            if (coef != 0 && !std::isnormal(path.coefs.back()))
                throw InvalidArgument("the coefficient of column " + std::to_string(j) +
                                      " leaves the range of float64: scale y by a power of two");
            intercept -= std::ldexp(design.means()[j] * coef, target.exponent());
        }
        path.intercepts.push_back(intercept);
    }
    return path;
}

}  // namespace lmscope
