#pragma once

#include <cstdint>
#include <vector>

#include "eigenvalues/dense/dense_to_band.h"
#include "eigenvalues/dense/tiles.h"
#include "runtime/aligned_buffer.h"

namespace lmscope::eigenvalues {

// A = U B U^T for a symmetric matrix A, given by its lower triangle (column-major), with a band matrix B and an
// orthogonal one U. The same bits for any number of threads.
class BandForm {
public:
    BandForm(int64_t order, const double* lower, int64_t stride);

    // Ascending eigenvalues.
    std::vector<double> values() const;

    // X <- U X or U^T X, X of `columns` columns (column-major, without gaps).
    void rotate(int64_t columns, double* x) const;
    void rotate_back(int64_t columns, double* x) const;

    const Band& band() const { return reduction_.band; }

private:
    void reflect(int64_t columns, double* x) const;
    void apply_panel(int64_t panel, bool transposed, int64_t columns, double* x, double* projections) const;
    template <typename Panels>
    void for_each_group(int64_t columns, double* x, Panels&& panels) const;

    AlignedBuffer reflection_;
    Tiles tiles_;
    BandReduction reduction_;
};

}  // namespace lmscope::eigenvalues
