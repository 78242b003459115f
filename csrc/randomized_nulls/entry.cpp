#include <string>

#include "lmscope/error.h"
#include "lmscope/randomized_nulls.h"
#include "randomized_nulls/lanczos.h"
#include "randomized_nulls/permutation.h"
#include "runtime/aligned_buffer.h"
#include "runtime/elements/elements.h"

namespace lmscope {
namespace {

void require_elements(const MatrixView& matrix) {
    if (matrix.rows < 1 || matrix.columns < 1)
        throw InvalidArgument("w has shape (" + std::to_string(matrix.rows) + ", " + std::to_string(matrix.columns) +
                              "); it needs at least one row and one column");
    if (matrix.device == Device::cuda)
        throw UnsupportedDType("w is a CUDA tensor; this kernel runs on the CPU: pass it with .cpu()");
}

void validate(const MatrixView& matrix, int64_t draws, double relative_tolerance) {
    require_elements(matrix);
    if (draws < 1) throw InvalidArgument("draws must be at least 1, got " + std::to_string(draws));
    if (!(relative_tolerance > 0 && relative_tolerance < 1))
        throw InvalidArgument("rtol must lie between 0 and 1, got " + std::to_string(relative_tolerance));
    elements::require_finite(matrix, "w");
}

}  // namespace

TopValues sign_flip_top_values(const MatrixView& matrix, int64_t draws, uint64_t seed, double relative_tolerance) {
    validate(matrix, draws, relative_tolerance);
    return nulls::top_values(matrix, nulls::scale_of(matrix), {seed, 0, draws, true}, relative_tolerance);
}

TopValues permutation_top_values(const MatrixView& matrix, int64_t draws, uint64_t seed, double relative_tolerance) {
    validate(matrix, draws, relative_tolerance);
    const nulls::Scale scale = nulls::scale_of(matrix);
    const int64_t bytes = matrix.rows * matrix.columns * size_in_bytes(matrix.dtype);
    AlignedBuffer buffer((bytes + 7) / 8);
    const MatrixView permuted{buffer.data(), matrix.dtype, matrix.rows, matrix.columns, matrix.columns, 1};
    TopValues result;
    for (int64_t draw = 0; draw < draws; ++draw) {
        nulls::permute(matrix, seed, static_cast<uint64_t>(draw), buffer.data());
        const TopValues one =
            nulls::top_values(permuted, scale, {seed, static_cast<uint64_t>(draw), 1, false}, relative_tolerance);
        result.values.push_back(one.values[0]);
        result.bounds.push_back(one.bounds[0]);
        result.steps.push_back(one.steps[0]);
    }
    return result;
}

void permute_entries(const MatrixView& matrix, uint64_t seed, uint64_t draw, void* target) {
    require_elements(matrix);
    nulls::permute(matrix, seed, draw, target);
}

}  // namespace lmscope
