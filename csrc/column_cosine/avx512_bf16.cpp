#include <immintrin.h>

#include "column_cosine/tile_loops.h"

namespace lmscope::cosine {
namespace {

// A step is a pair of depths: two exact products are added to a float32 sum.
template <int rows, int vectors>
void multiply_bfloat16(const void* x, const void* y, int64_t group_stride, int64_t steps, bool add, float* target) {
    const auto* from_x = static_cast<const float*>(x);
    __m512 sums[rows][vectors];
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) sums[row][v] = _mm512_setzero_ps();
    for (int64_t step = 0; step < steps; ++step) {
        __m512bh from_y[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v)
            from_y[v] = reinterpret_cast<__m512bh>(_mm512_loadu_ps(vector_of_y<float>(y, group_stride, step, v)));
#pragma GCC unroll 16
        for (int row = 0; row < rows; ++row) {
            const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_ps(from_x[step * rows + row]));
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v) sums[row][v] = _mm512_dpbf16_ps(sums[row][v], factor, from_y[v]);
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
            float* place = target + (row * vectors + v) * 16;
            _mm512_storeu_ps(place, add ? _mm512_add_ps(_mm512_loadu_ps(place), sums[row][v]) : sums[row][v]);
        }
}

}  // namespace

const Kernels kernels_avx512_bf16 = {
    {14, 32, 16, {192, 512, 192}, multiply_bfloat16<14, 2>, finish<float, 14, 2>, interleave<float, 14>},
    tile<float, 14, 2>(),
    tile<double, 6, 4>(),
    widen};

}  // namespace lmscope::cosine
