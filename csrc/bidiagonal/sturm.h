#pragma once

#include <cstdint>

namespace lmscope::bidiagonal {

// Sturm counts advance together in this many lanes, whatever the instruction set: results do not depend on it. Many
// thresholds of one matrix are at hand; batches of matrices are cut among threads too.
constexpr int shared_lanes = 64;
constexpr int separate_lanes = 32;

// Of `shared_lanes` shifted matrices: fraction 2^exponent, the fraction of any size within the range of a double. Its
// sign is that of the count's parity, without exception.
struct Determinants {
    double* fractions;
    int64_t* exponents;
};

// Squared entries q_0 e_0 q_1 e_1 ... of one matrix (`shared`), each at most 1, or of `separate_lanes` matrices, lane
// index innermost; the last e is not read. counts[l]: squared singular values less than shifts[l], which lie in
// [1e-60, 4].
//
// `tridiagonal`: a_0 c_0 a_1 c_1 ... of one symmetric matrix, |a| <= 1 its diagonal and c in [1e-60, 1] the squares
// beside it, the last one not read. counts[l]: eigenvalues not above shifts[l] for `shared_lanes` shifts in [-4, 4].
struct Sturm {
    void (*shared)(const double* squares, int64_t order, const double* shifts, int64_t* counts);
    void (*separate)(const double* squares, int64_t order, const double* shifts, int64_t* counts);
    void (*tridiagonal)(const double* entries, int64_t order, const double* shifts, int64_t* counts,
                        const Determinants& determinants);
};
extern const Sturm sturm_scalar;
extern const Sturm sturm_avx2;
extern const Sturm sturm_avx512;

// The table of the active instruction set.
const Sturm& sturm();

}  // namespace lmscope::bidiagonal
