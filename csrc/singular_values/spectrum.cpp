#include "singular_values/spectrum.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "singular_values/error_model.h"
#include "singular_values/tail.h"

namespace lmscope {
namespace {

Spectrum by_qr(const MatrixView& matrix) {
    TriangularFactor factor(matrix.columns);
    factor.add(matrix);
    return spectrum_of(factor, matrix.columns);
}

Spectrum from_eigenvalues(const Gram& gram, const std::vector<double>& eigenvalues, int64_t count) {
    const double largest = std::max(0.0, eigenvalues.back());
    const double error = error_model::gram(gram.columns, gram.additions) * largest;
    Spectrum spectrum;
    for (int64_t i = 0; i < count; ++i) {
        const double square = eigenvalues[static_cast<size_t>(gram.columns - 1 - i)];
        spectrum.values.push_back(std::ldexp(std::sqrt(std::max(0.0, square)), gram.exponent));
        spectrum.bounds.push_back(error_model::scaled_bound(error_model::of_square_root(square, error), gram.exponent));
    }
    spectrum.method = SpectrumMethod::gram;
    return spectrum;
}

// Of two spectra of one matrix, the better-known value at each place: the Gram route is the more accurate one for the
// large values, the QR route for the small ones.
Spectrum combined(const Spectrum& gram, Spectrum qr) {
    for (size_t i = 0; i < qr.values.size() && gram.bounds[i] < qr.bounds[i]; ++i) {
        qr.values[i] = gram.values[i];
        qr.bounds[i] = gram.bounds[i];
    }
    return qr;
}

}  // namespace

Spectrum spectrum_of(const Gram& gram, int64_t count) { return from_eigenvalues(gram, gram.eigenvalues(), count); }

Spectrum spectrum_of(const TriangularFactor& factor, int64_t count) {
    Spectrum spectrum;
    spectrum.values = factor.singular_values();
    const double bound = error_model::qr(factor.columns, factor.additions) * spectrum.values.front();
    spectrum.values.resize(static_cast<size_t>(count));
    for (double& value : spectrum.values) value = std::ldexp(value, factor.exponent);
    spectrum.bounds.assign(static_cast<size_t>(count), error_model::scaled_bound(bound, factor.exponent));
    spectrum.method = SpectrumMethod::qr;
    return spectrum;
}

Spectrum cpu_singular_values(const MatrixView& matrix, SpectrumMethod method, double relative_tolerance) {
    if (method == SpectrumMethod::qr) return by_qr(matrix);
    Gram gram(matrix.columns);
    gram.add(matrix);
    std::optional<eigenvalues::BandForm> form;
    const auto reduce = [&] { form.emplace(gram.view()); };
    if (gram.columns > eigenvalues::most_in_one_stage) reduce();
    Spectrum spectrum = from_eigenvalues(gram, form ? form->values() : gram.eigenvalues(), matrix.columns);
    const double largest = spectrum.values.front();
    if (method == SpectrumMethod::gram || largest == 0) return spectrum;

    int64_t missed = 0;
    for (size_t i = 0; i < spectrum.values.size(); ++i)
        if (spectrum.bounds[i] > tolerance(spectrum.values[i], largest, relative_tolerance)) ++missed;
    if (missed == 0) return spectrum;

    // Squares within the Gram matrix's own error: the matrix is of lower rank, as far as that error lets see.
    const double noise = 4.0 * std::sqrt(error_model::gram(gram.columns, gram.additions)) * largest;
    const auto first_missed = spectrum.values[spectrum.values.size() - static_cast<size_t>(missed)];
    bool enough = false;
    if (missed <= std::max<int64_t>(8, matrix.columns / 16)) {
        if (!form) reduce();
        enough = refine_small_tail(matrix, gram, *form, missed, relative_tolerance, spectrum);
    } else if (first_missed <= noise) {
        form.reset();
        enough = refine_null_tail(matrix, gram, missed, relative_tolerance, spectrum);
    }
    form.reset();
    return enough ? spectrum : combined(spectrum, by_qr(matrix));
}

}  // namespace lmscope
