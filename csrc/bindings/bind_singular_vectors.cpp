#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/intake.h"
#include "bindings/spectrum_method.h"
#include "lmscope/singular_vectors.h"

namespace py = pybind11;

namespace lmscope::bindings {
namespace {

// Nothing for all ranks, a number for so many from either end, or ranks, negative ones from the end.
using Which = std::variant<std::monostate, int64_t, std::vector<int64_t>>;

// Ascending.
std::vector<int64_t> resolve(const Which& which, int64_t values) {
    const std::string there = "; the matrix has " + std::to_string(values) + " singular values";
    std::vector<int64_t> ranks;
    if (const auto* given = std::get_if<std::vector<int64_t>>(&which)) {
        if (given->empty()) throw InvalidArgument("which names no rank" + there);
        for (const int64_t rank : *given) {
            if (rank < -values || rank >= values)
                throw InvalidArgument("which has rank " + std::to_string(rank) + there);
            ranks.push_back(rank < 0 ? rank + values : rank);
        }
        std::sort(ranks.begin(), ranks.end());
        const auto twice = std::adjacent_find(ranks.begin(), ranks.end());
        if (twice != ranks.end()) throw InvalidArgument("which has rank " + std::to_string(*twice) + " twice");
        return ranks;
    }
    const auto* asked = std::get_if<int64_t>(&which);
    const int64_t number = asked == nullptr ? values : *asked;
    if (number == 0 || number > values || number < -values)
        throw InvalidArgument("which asks for " + std::to_string(number) + " singular vectors" + there);
    ranks.resize(static_cast<size_t>(std::abs(number)));
    std::iota(ranks.begin(), ranks.end(), number > 0 ? int64_t{0} : values + number);
    return ranks;
}

py::array_t<double> column_major(int64_t rows, size_t columns) {
    return py::array_t<double, py::array::f_style>({static_cast<size_t>(rows), columns});
}

}  // namespace

void bind_singular_vectors(py::module_& module) {
    module.def(
        "singular_vectors",
        [](py::handle w, const Which& which, const std::string& method, std::optional<double> tolerance) {
            const SpectrumMethod parsed = parse_method(method, false);
            const Intake intake(w, "w");
            const MatrixView& matrix = intake.view();
            require_elements(matrix, "w");
            std::vector<int64_t> ranks = resolve(which, std::min(matrix.rows, matrix.columns));
            py::array_t<double> left = column_major(matrix.rows, ranks.size());
            py::array_t<double> right = column_major(matrix.columns, ranks.size());
            double* left_data = left.mutable_data();
            double* right_data = right.mutable_data();
            SingularTriplets triplets;
            {
                const py::gil_scoped_release release;
                triplets = singular_vectors(matrix, parsed, tolerance, ranks, left_data, right_data);
            }
            return py::make_tuple(to_array(std::move(triplets.values)), left, right,
                                  to_array(std::move(triplets.residuals)), triplets.orthogonality,
                                  to_array(std::move(ranks)), name_of(triplets.method));
        },
        py::arg("w"), py::arg("which"), py::arg("method"), py::arg("tolerance"));
}

}  // namespace lmscope::bindings
