// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code. Compiled with -ffp-contract=fast.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "lasso/kernels.h"

namespace lmscope::lasso {
namespace {

#if defined(__AVX512F__)
constexpr int width = 8;
#elif defined(__AVX2__)
constexpr int width = 4;
#else
constexpr int width = 2;
#endif
using Numbers = double __attribute__((vector_size(width * sizeof(double))));
using Bits = int64_t __attribute__((vector_size(width * sizeof(double))));

Numbers load(const double* source) {
    Numbers value;
    std::memcpy(&value, source, sizeof value);
    return value;
}

void store(double* target, Numbers value) { std::memcpy(target, &value, sizeof value); }

// Taking zero away leaves every number as it is, so this is a broadcast.
Numbers everywhere(double value) { return value - Numbers{}; }

Numbers smaller(Numbers a, Numbers b) { return a < b ? a : b; }
Numbers larger(Numbers a, Numbers b) { return a > b ? a : b; }
Numbers magnitude(Numbers a) { return (Numbers)((Bits)a & 0x7fffffffffffffffLL); }

// Zero for |value| <= threshold, else the threshold nearer to zero.
Numbers soft(Numbers value, Numbers threshold) { return value - larger(smaller(value, threshold), -threshold); }

bool any(Bits found) {
    int64_t seen = 0;
    for (int i = 0; i < width; ++i) seen |= found[i];
    return seen != 0;
}

bool sweep_block(const Block& block) {
    constexpr int vectors = block_lanes / width;
    double gradient[block_rows * block_lanes];
    std::memcpy(gradient, block.gradient, static_cast<size_t>(block.rows) * block_lanes * sizeof(double));
    Bits changed = {};
    for (int64_t j = 0; j < block.rows; ++j) {
        const double* row = block.gram + (block.first + j) * block.order + block.first;
        const Numbers diagonal = everywhere(row[j]);
        const Numbers inverse = everywhere(block.inverse[block.first + j]);
        const Numbers place = everywhere(static_cast<double>(block.first + j));
        Numbers change[vectors];
        Bits moved = {};
        for (int v = 0; v < vectors; ++v) {
            const int64_t at = j * block_lanes + v * width;
            const Numbers before = load(block.coef + at);
            const Numbers target = load(gradient + at) + diagonal * before;
            const Numbers after = soft(target, load(block.threshold + v * width)) * inverse;
            change[v] = place < load(block.limit + v * width) ? after - before : Numbers{};
            store(block.coef + at, change[v] != 0.0 ? after : before);
            store(block.change + at, change[v]);
            moved |= change[v] != 0.0;
        }
        if (!any(moved)) continue;
        changed |= moved;
        for (int64_t k = j + 1; k < block.rows; ++k)
            for (int v = 0; v < vectors; ++v) {
                double* at = gradient + k * block_lanes + v * width;
                store(at, load(at) - row[k] * change[v]);
            }
    }
    return any(changed);
}

constexpr int pack_vectors = pack_lanes / width;

void sweep(Pack& pack) {
    Numbers threshold[pack_vectors];
    for (int v = 0; v < pack_vectors; ++v) threshold[v] = load(pack.threshold + v * width);
    for (int64_t i = 0; i < pack.order; ++i) {
        const double* row = pack.gram + i * pack.order * pack_lanes;
        Numbers change[pack_vectors];
        Bits moved = {};
        for (int v = 0; v < pack_vectors; ++v) {
            const int64_t at = i * pack_lanes + v * width;
            const Numbers before = load(pack.coef + at);
            const Numbers target = load(pack.gradient + at) + load(row + at) * before;
            const Numbers after = soft(target, threshold[v]) * load(pack.inverse + at);
            change[v] = after - before;
            store(pack.coef + at, after);
            moved |= change[v] != 0.0;
        }
        if (!any(moved)) continue;
        for (int64_t k = 0; k < pack.order; ++k)
            for (int v = 0; v < pack_vectors; ++v) {
                const int64_t at = k * pack_lanes + v * width;
                store(pack.gradient + at, load(pack.gradient + at) - load(row + at) * change[v]);
            }
    }
}

// Share of the diagonal that keeps dependent columns apart: they then move together until one of them reaches zero.
constexpr double newton_shift = 1e-10;

// Gathers the active part of lane l, or a unit matrix where it is smaller than the largest one.
void gather_active(const Pack& pack, int64_t active, const int64_t* sizes) {
    for (int64_t i = 0; i < active; ++i)
        for (int l = 0; l < pack_lanes; ++l) {
            double* row = pack.factor + i * (i + 1) / 2 * pack_lanes + l;
            if (i >= sizes[l]) {
                for (int64_t k = 0; k < i; ++k) row[k * pack_lanes] = 0;
                row[i * pack_lanes] = 1;
                pack.step[i * pack_lanes + l] = 0;
                continue;
            }
            const int64_t place = pack.support[i * pack_lanes + l];
            const double* source = pack.gram + place * pack.order * pack_lanes + l;
            for (int64_t k = 0; k <= i; ++k)
                row[k * pack_lanes] = source[pack.support[k * pack_lanes + l] * pack_lanes];
            row[i * pack_lanes] *= 1 + newton_shift;
            const int64_t at = place * pack_lanes + l;
            pack.step[i * pack_lanes + l] = pack.gradient[at] - std::copysign(pack.threshold[l], pack.coef[at]);
        }
}

// Cholesky factors of all lanes, row by row, the diagonal inverted; `refused` gets the lanes with a pivot of rounding
// size. `right` becomes the solution.
void solve(double* factor, int64_t active, double* right, Bits (&refused)[pack_vectors]) {
    constexpr double smallest_pivot = 1e-12;
    const auto row_of = [&](int64_t i) { return factor + i * (i + 1) / 2 * pack_lanes; };
    const auto eliminate = [&](double* row, int64_t i, int v) {
        for (int64_t k = 0; k < i; ++k) {
            double* at = row + k * pack_lanes + v * width;
            const Numbers value = load(at) * load(row_of(k) + k * pack_lanes + v * width);
            store(at, value);
            for (int64_t j = k + 1; j < i; ++j) {
                double* later = row + j * pack_lanes + v * width;
                store(later, load(later) - value * load(row_of(j) + k * pack_lanes + v * width));
            }
        }
    };
    for (int v = 0; v < pack_vectors; ++v) {
        refused[v] = Bits{};
        for (int64_t i = 0; i < active; ++i) {
            double* row = row_of(i);
            double* diagonal = row + i * pack_lanes + v * width;
            eliminate(row, i, v);
            const Numbers before = load(diagonal);
            Numbers pivot = before;
            for (int64_t k = 0; k < i; ++k) {
                const Numbers value = load(row + k * pack_lanes + v * width);
                pivot -= value * value;
            }
            const Bits bad = !(pivot > smallest_pivot * before);
            refused[v] |= bad;
            pivot = bad ? everywhere(1.0) : pivot;
            for (int l = 0; l < width; ++l) pivot[l] = 1 / std::sqrt(pivot[l]);
            store(diagonal, pivot);
        }
        eliminate(right, active, v);
        for (int64_t k = active; k-- > 0;) {
            double* at = right + k * pack_lanes + v * width;
            const double* row = row_of(k) + v * width;
            const Numbers value = load(at) * load(row + k * pack_lanes);
            store(at, value);
            for (int64_t j = 0; j < k; ++j) {
                double* earlier = right + j * pack_lanes + v * width;
                store(earlier, load(earlier) - value * load(row + j * pack_lanes));
            }
        }
    }
}

bool newton(Pack& pack) {
    int64_t sizes[pack_lanes] = {};
    for (int64_t i = 0; i < pack.order; ++i)
        for (int l = 0; l < pack_lanes; ++l)
            if (pack.coef[i * pack_lanes + l] != 0) pack.support[sizes[l]++ * pack_lanes + l] = i;
    int64_t active = 0;
    for (const int64_t size : sizes) active = size > active ? size : active;
    if (active == 0) return false;
    gather_active(pack, active, sizes);
    Bits refused[pack_vectors];
    solve(pack.factor, active, pack.step, refused);
    // The factor is no longer needed: its memory takes the steps by place in the working set.
    double* change = pack.factor;
    std::memset(change, 0, static_cast<size_t>(pack.order) * pack_lanes * sizeof(double));
    bool crossed = false;
    for (int l = 0; l < pack_lanes; ++l) {
        if (refused[l / width][l % width] != 0) continue;
        double share = 1;
        int64_t crossing = -1;
        for (int64_t i = 0; i < sizes[l]; ++i) {
            const double coef = pack.coef[pack.support[i * pack_lanes + l] * pack_lanes + l];
            const double step = pack.step[i * pack_lanes + l];
            if ((coef > 0) == (coef + step > 0) && coef + step != 0) continue;
            if (-coef / step <= share) {
                share = -coef / step;
                crossing = i;
            }
        }
        crossed |= crossing >= 0;
        for (int64_t i = 0; i < sizes[l]; ++i) {
            const int64_t at = pack.support[i * pack_lanes + l] * pack_lanes + l;
            const double after = i == crossing ? 0 : pack.coef[at] + share * pack.step[i * pack_lanes + l];
            change[at] = after - pack.coef[at];
            pack.coef[at] = after;
        }
    }
    for (int64_t i = 0; i < pack.order; ++i) {
        const double* row = pack.gram + i * pack.order * pack_lanes;
        Numbers step[pack_vectors];
        Bits moved = {};
        for (int v = 0; v < pack_vectors; ++v) {
            step[v] = load(change + i * pack_lanes + v * width);
            moved |= step[v] != 0.0;
        }
        if (!any(moved)) continue;
        for (int64_t k = 0; k < pack.order; ++k)
            for (int v = 0; v < pack_vectors; ++v) {
                const int64_t at = k * pack_lanes + v * width;
                store(pack.gradient + at, load(pack.gradient + at) - load(row + at) * step[v]);
            }
    }
    return crossed;
}

void gaps(const Pack& pack, double* found) {
    for (int v = 0; v < pack_vectors; ++v) {
        Numbers largest = {};
        Numbers l1 = {};
        Numbers fit = {};
        Numbers correlation = {};
        for (int64_t i = 0; i < pack.order; ++i) {
            const int64_t at = i * pack_lanes + v * width;
            const Numbers gradient = load(pack.gradient + at);
            const Numbers coef = load(pack.coef + at);
            largest = larger(largest, load(pack.inverse + at) != 0.0 ? magnitude(gradient) : Numbers{});
            l1 += magnitude(coef);
            fit += coef * gradient;
            correlation += coef * load(pack.correlations + at);
        }
        const Numbers threshold = load(pack.threshold + v * width);
        const Numbers scale = largest > threshold ? threshold / largest : everywhere(1.0);
        const Numbers product = load(pack.target_squared_norm + v * width) - correlation;
        store(found + v * width,
              0.5 * (1.0 - scale) * (1.0 - scale) * product + (threshold * l1 - 0.5 * (1.0 + scale * scale) * fit));
    }
}

void gradient(int64_t length, const double* correlations, const double* gram, int64_t order, int64_t terms,
              const int64_t* columns, const double* coef, double* target) {
    std::memcpy(target, correlations, static_cast<size_t>(length) * sizeof(double));
    constexpr int64_t together = 4;
    for (int64_t t = 0; t < terms; t += together) {
        const double* column[together];
        double factor[together];
        for (int64_t i = 0; i < together; ++i) {
            column[i] = gram + columns[t + i < terms ? t + i : t] * order;
            factor[i] = t + i < terms ? coef[t + i] : 0;
        }
        int64_t j = 0;
        for (; j + width <= length; j += width) {
            Numbers sum = load(target + j);
            for (int64_t i = 0; i < together; ++i) sum -= factor[i] * load(column[i] + j);
            store(target + j, sum);
        }
        for (; j < length; ++j)
            for (int64_t i = 0; i < together; ++i) target[j] -= factor[i] * column[i][j];
    }
}

}  // namespace
}  // namespace lmscope::lasso
