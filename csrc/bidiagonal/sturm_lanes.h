// Included once by each instruction set's source; everything here has internal linkage, so that no two of them share
// code.
#include <cstdint>
#include <cstring>

#include "bidiagonal/sturm.h"

namespace lmscope::bidiagonal {
namespace {

// Vector types of GCC and Clang, which compile for every target; loops over plain arrays were left scalar.
#if defined(__AVX512F__)
constexpr int width = 8;
#elif defined(__AVX2__)
constexpr int width = 4;
#else
constexpr int width = 2;
#endif
using Numbers = double __attribute__((vector_size(width * sizeof(double))));
using Bits = uint64_t __attribute__((vector_size(width * sizeof(double))));

// Taking zero away leaves every number as it is, so this is a broadcast; adding zero would be an addition, for -0.
Numbers everywhere(double value) { return value - Numbers{}; }

enum class Form { shared, separate, tridiagonal };

// Two steps of the tridiagonal form take no more than 1e-60 away from the larger number.
constexpr int64_t steps_between_rescalings(Form form) { return form == Form::tridiagonal ? 8 : 4; }

constexpr int lanes(Form form) { return form == Form::separate ? separate_lanes : shared_lanes; }

// Vectors that advance at one time: eight hide the latency of the recurrence.
constexpr int vectors_of(Form form) { return lanes(form) < 8 * width ? lanes(form) / width : 8; }

// Bidiagonal: the differential stationary transform d = q + s, s' = e s / d - shift. Tridiagonal: the pivots
// d = a - shift + s, s' = -c / d. In both s = numerator / denominator is carried as two numbers: no division, and d < 0
// is a sign change of the denominator.
template <Form form>
void count_together(const double* entries, int64_t order, const double* shifts, int64_t* counts,
                    [[maybe_unused]] Determinants determinants) {
    constexpr int step = form == Form::separate ? separate_lanes : 1;
    constexpr int vectors = vectors_of(form);
    Numbers shift[vectors];
    Numbers numerator[vectors];
    Numbers denominator[vectors];
    Bits changes[vectors];
    [[maybe_unused]] Bits exponents[vectors];
    for (int v = 0; v < vectors; ++v) {
        std::memcpy(&shift[v], shifts + v * width, sizeof(Numbers));
        numerator[v] = form == Form::tridiagonal ? Numbers{} : -shift[v];
        denominator[v] = everywhere(1.0);
        changes[v] = Bits{};
        if constexpr (form == Form::tridiagonal) exponents[v] = Bits{};
    }
    const auto advance = [&](int64_t i) {
        for (int v = 0; v < vectors; ++v) {
            Numbers q;
            Numbers e;
            if constexpr (form == Form::separate) {
                std::memcpy(&q, entries + 2 * i * step + v * width, sizeof q);
                std::memcpy(&e, entries + (2 * i + 1) * step + v * width, sizeof e);
            } else {
                q = everywhere(entries[2 * i]);
                e = everywhere(entries[2 * i + 1]);
            }
            if constexpr (form == Form::tridiagonal) {
                // A pivot of exactly zero needs no care: no division, and the next denominator, -e times the last one,
                // has one sign change whatever the zero's own sign.
                const Numbers next = (q - shift[v]) * denominator[v] + numerator[v];
                changes[v] += ((Bits)next ^ (Bits)denominator[v]) >> 63;
                numerator[v] = -e * denominator[v];
                denominator[v] = next;
            } else {
                Numbers next = q * denominator[v] + numerator[v];
                // A pivot of exactly zero stands for a tiny positive one: a value equal to the threshold is not below
                // it.
                next = next == 0.0 ? 1e-40 * denominator[v] : next;
                changes[v] += ((Bits)next ^ (Bits)denominator[v]) >> 63;
                numerator[v] = e * numerator[v] - shift[v] * next;
                denominator[v] = next;
            }
        }
    };
    // Powers of two only: the ratio, and so the count, is the one without rescaling.
    const auto rescale = [&] {
        for (int v = 0; v < vectors; ++v) {
            const Bits a = (Bits)numerator[v] & 0x7ff0000000000000ULL;
            const Bits b = (Bits)denominator[v] & 0x7ff0000000000000ULL;
            const Bits larger = a > b ? a : b;
            if constexpr (form == Form::tridiagonal) exponents[v] += (larger >> 52) - 1023;
            const auto factor = (Numbers)(0x7fe0000000000000ULL - larger);
            numerator[v] *= factor;
            denominator[v] *= factor;
        }
    };
    int64_t i = 0;
    constexpr int64_t steps = steps_between_rescalings(form);
    for (; i + steps < order; i += steps) {
        for (int64_t j = 0; j < steps; ++j) advance(i + j);
        rescale();
    }
    for (; i < order; ++i) advance(i);
    for (int l = 0; l < vectors * width; ++l) counts[l] = static_cast<int64_t>(changes[l / width][l % width]);
    // The denominators are the leading minors of the shifted matrix.
    if constexpr (form == Form::tridiagonal)
        for (int v = 0; v < vectors; ++v) {
            std::memcpy(determinants.fractions + v * width, &denominator[v], sizeof(Numbers));
            std::memcpy(determinants.exponents + v * width, &exponents[v], sizeof(Bits));
        }
}

template <Form form>
void count(const double* entries, int64_t order, const double* shifts, int64_t* counts) {
    for (int first = 0; first < lanes(form); first += vectors_of(form) * width)
        count_together<form>(entries + (form == Form::separate ? first : 0), order, shifts + first, counts + first, {});
}

void count_tridiagonal(const double* entries, int64_t order, const double* shifts, int64_t* counts,
                       const Determinants& determinants) {
    constexpr Form form = Form::tridiagonal;
    for (int first = 0; first < lanes(form); first += vectors_of(form) * width)
        count_together<form>(entries, order, shifts + first, counts + first,
                             {determinants.fractions + first, determinants.exponents + first});
}

}  // namespace
}  // namespace lmscope::bidiagonal
