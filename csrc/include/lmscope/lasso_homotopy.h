#pragma once

#include <cstdint>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

// Why a path ends: at alpha 0, at a limit of its settings, or where its next knot misses the optimality conditions by
// more than 1e-9 of alpha_max.
enum class PathEnd : uint8_t { alpha_zero, limit, rounding };

struct HomotopySettings {
    int64_t most_events = 0;
    // Ends before an event that would make more non-zeros.
    int64_t most_nonzeros = 0;
    bool keep_coefs = false;
};

// The exact Lasso path (LARS with drops), linear in alpha between knots: events[s] happens at alphas[s]: column j
// enters, or, as -1 - j, leaves. One alpha more than events.
struct HomotopyPath {
    std::vector<double> alphas;
    std::vector<int64_t> events;
    std::vector<double> signs;  // of the coefficient that each event brings in; 0 at an exit
    std::vector<double> coefs;  // knot after knot, all columns each, where kept
    // Columns that stayed out at some knot because they depend linearly on those that were in.
    std::vector<int64_t> dependent;
    PathEnd end = PathEnd::limit;
};

// y is samples x 1.
HomotopyPath lasso_homotopy(const MatrixView& x, const MatrixView& y, const HomotopySettings& settings);

// Row positions[i] of `tokens` on the rows before it, all from one Gram matrix; the samples are the columns.
std::vector<HomotopyPath> lasso_prefix_homotopy(const MatrixView& tokens, const std::vector<int64_t>& positions,
                                                const HomotopySettings& settings);

}  // namespace lmscope
