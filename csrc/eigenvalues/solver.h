#pragma once

#include <cstdint>
#include <vector>

#include "eigenvalues/dense/dense_to_band.h"
#include "eigenvalues/dense/tiles.h"
#include "lmscope/matrix_view.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// Matrices up to this order go to tridiagonal form at once, on the calling thread alone: README.md has the times.
constexpr int64_t most_in_one_stage = 512;

// Ascending eigenvalues of the symmetric matrix times 2^-exponent whose lower triangle is given. The same bits for any
// number of threads.
std::vector<double> values_of_symmetric(const MatrixView& matrix, int exponent = 0);

// A = U (B + shift I) U^T for such a matrix, with a band matrix B and an orthogonal one U. The same bits for any number
// of threads.
class BandForm {
public:
    explicit BandForm(const MatrixView& matrix, int exponent = 0);

    // Ascending eigenvalues, of a matrix of higher order than most_in_one_stage.
    std::vector<double> values() const;

    // X <- U X or U^T X, X of `columns` columns (column-major, without gaps).
    void rotate(int64_t columns, double* x) const;
    void rotate_back(int64_t columns, double* x) const;

    const Band& band() const { return reduction_.band; }
    double shift() const { return shift_; }

private:
    void reflect(int64_t columns, double* x) const;
    void apply_panel(int64_t panel, bool transposed, int64_t columns, double* x, double* projections) const;
    template <typename Panels>
    void for_each_group(int64_t columns, double* x, Panels&& panels) const;

    const AlignedBuffer reflection_;
    Tiles tiles_;
    const double shift_;
    BandReduction reduction_;
};

}  // namespace lmscope::eigenvalues
