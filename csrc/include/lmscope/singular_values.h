#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lmscope/matrix_view.h"

namespace lmscope {

enum class SpectrumMethod { automatic, gram, qr };

// Singular values, descending, each with an absolute error bound; `refined` of them (the smallest) come from a second
// pass over the matrix. csrc/singular_values/README.md derives the bounds.
struct Spectrum {
    std::vector<double> values;
    std::vector<double> bounds;
    SpectrumMethod method = SpectrumMethod::gram;
    int64_t refined = 0;
};

Spectrum singular_values(const MatrixView& matrix, SpectrumMethod method, double relative_tolerance);

// What one pass over the rows of a matrix leaves behind: the lower triangle of its Gram matrix, or the triangular
// factor of its QR factorisation, of the matrix times 2^-exponent. Column-major, columns x columns, the rest zero.
class StreamingSpectrum {
public:
    StreamingSpectrum(int64_t columns, SpectrumMethod method);
    ~StreamingSpectrum();
    StreamingSpectrum(StreamingSpectrum&&) noexcept;
    StreamingSpectrum& operator=(StreamingSpectrum&&) noexcept;

    void update(const MatrixView& rows);
    void merge(const StreamingSpectrum& other);
    // The min(rows, columns) values; throws before the first row.
    Spectrum result();

    int64_t columns() const;
    int64_t rows() const;
    int64_t additions() const;
    int exponent() const;
    SpectrumMethod method() const;
    const double* triangle() const;

    static StreamingSpectrum from_state(int64_t columns, SpectrumMethod method, int64_t rows, int64_t additions,
                                        int exponent, const double* triangle);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lmscope
