#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "lmscope/singular_values.h"
#include "lmscope/singular_vectors.h"
#include "runtime/elements/elements.h"
#include "runtime/subnormals.h"
#include "singular_values/spectrum.h"
#include "singular_values/vectors.h"

namespace lmscope {
void require_elements(const MatrixView& matrix, const char* argument) {
    active_isa();  // a wrong LMSCOPE_ISA is refused even where this dtype needs no widening
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument(std::string(argument) + " has shape (" + std::to_string(matrix.rows) + ", " +
                              std::to_string(matrix.columns) + "); it needs at least one row and one column");
    if (matrix.device == Device::cuda)
        throw UnsupportedDType(std::string(argument) +
                               " is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
}

namespace {

InvalidArgument beyond_float64() {
    return InvalidArgument("the largest singular value exceeds the range of float64: scale the matrix down");
}

Spectrum representable(Spectrum spectrum) {
    if (std::isinf(spectrum.values.front()) || std::isinf(spectrum.bounds.front())) throw beyond_float64();
    return spectrum;
}

const char* name_of(SpectrumMethod method) { return method == SpectrumMethod::qr ? "qr" : "gram"; }

}  // namespace

Spectrum singular_values(const MatrixView& matrix, SpectrumMethod method, double relative_tolerance) {
    const KeepSubnormals keep_subnormals;
    require_elements(matrix, "w");
    if (!(relative_tolerance > 0))
        throw InvalidArgument("rtol must be positive, got " + std::to_string(relative_tolerance));
    elements::require_finite(matrix, "w");
    return representable(
        cpu_singular_values(matrix.rows >= matrix.columns ? matrix : matrix.transposed(), method, relative_tolerance));
}

SingularTriplets singular_vectors(const MatrixView& matrix, SpectrumMethod method, std::optional<double> tolerance,
                                  const std::vector<int64_t>& ranks, double* left, double* right) {
    const KeepSubnormals keep_subnormals;
    require_elements(matrix, "w");
    if (tolerance && !(*tolerance > 0))
        throw InvalidArgument("tolerance must be positive, got " + std::to_string(*tolerance));
    elements::require_finite(matrix, "w");
    const bool tall = matrix.rows >= matrix.columns;
    const SingularTriplets triplets =
        cpu_singular_vectors(tall ? matrix : matrix.transposed(), method,
                             tolerance.value_or(reachable_tolerance(std::min(matrix.rows, matrix.columns))), ranks,
                             tall ? left : right, tall ? right : left);
    if (std::isinf(triplets.values.front())) throw beyond_float64();
    fix_signs(matrix.rows, matrix.columns, static_cast<int64_t>(ranks.size()), left, right);
    return triplets;
}

struct StreamingSpectrum::State {
    std::variant<Gram, TriangularFactor> half;

    template <typename Visit>
    decltype(auto) visit(Visit&& visitor) {
        return std::visit(std::forward<Visit>(visitor), half);
    }
};

StreamingSpectrum::StreamingSpectrum(int64_t columns, SpectrumMethod method) {
    constexpr int64_t most = int64_t{1} << 24;
    if (columns < 1 || columns > most)
        throw InvalidArgument("columns must lie between 1 and " + std::to_string(most) + ", got " +
                              std::to_string(columns));
    if (method == SpectrumMethod::qr)
        state_ = std::make_unique<State>(TriangularFactor(columns));
    else
        state_ = std::make_unique<State>(Gram(columns));
}

StreamingSpectrum::~StreamingSpectrum() = default;
StreamingSpectrum::StreamingSpectrum(StreamingSpectrum&&) noexcept = default;
StreamingSpectrum& StreamingSpectrum::operator=(StreamingSpectrum&&) noexcept = default;

void StreamingSpectrum::update(const MatrixView& rows) {
    const KeepSubnormals keep_subnormals;
    require_elements(rows, "rows");
    if (rows.columns != columns())
        throw InvalidArgument("rows has " + std::to_string(rows.columns) + " columns; this stream was made for " +
                              std::to_string(columns()));
    elements::require_finite(rows, "rows");
    state_->visit([&](auto& half) { half.add(rows); });
}

void StreamingSpectrum::merge(const StreamingSpectrum& other) {
    if (other.columns() != columns() || other.method() != method())
        throw InvalidArgument("other has " + std::to_string(other.columns()) + " columns and method '" +
                              name_of(other.method()) + "'; this stream has " + std::to_string(columns()) + " and '" +
                              name_of(method()) + "'");
    std::visit([&](auto& half) { half.merge(std::get<std::remove_reference_t<decltype(half)>>(other.state_->half)); },
               state_->half);
}

Spectrum StreamingSpectrum::result() {
    const KeepSubnormals keep_subnormals;
    if (rows() == 0) throw InvalidArgument("no rows yet: call update(rows) first");
    return representable(
        state_->visit([&](auto& half) { return spectrum_of(half, std::min(half.rows, half.columns)); }));
}

int64_t StreamingSpectrum::columns() const {
    return state_->visit([](const auto& half) { return half.columns; });
}
int64_t StreamingSpectrum::rows() const {
    return state_->visit([](const auto& half) { return half.rows; });
}
int64_t StreamingSpectrum::additions() const {
    return state_->visit([](const auto& half) { return half.additions; });
}
int StreamingSpectrum::exponent() const {
    return state_->visit([](const auto& half) { return half.exponent; });
}
SpectrumMethod StreamingSpectrum::method() const {
    return std::holds_alternative<Gram>(state_->half) ? SpectrumMethod::gram : SpectrumMethod::qr;
}
const double* StreamingSpectrum::triangle() const {
    return state_->visit([](const auto& half) { return half.triangle.data(); });
}

StreamingSpectrum StreamingSpectrum::from_state(int64_t columns, SpectrumMethod method, int64_t rows, int64_t additions,
                                                int exponent, const double* triangle) {
    if (rows < 0 || additions < 0 || std::abs(exponent) > 1000)
        throw InvalidArgument("state is damaged: rows " + std::to_string(rows) + ", additions " +
                              std::to_string(additions) + ", exponent " + std::to_string(exponent));
    StreamingSpectrum stream(columns, method);
    elements::require_finite({triangle, DType::float64, columns, columns, columns, 1}, "state['triangle']");
    stream.state_->visit([&](auto& half) {
        half.rows = rows;
        half.additions = additions;
        half.exponent = exponent;
        std::copy_n(triangle, columns * columns, half.triangle.data());
    });
    return stream;
}

}  // namespace lmscope
