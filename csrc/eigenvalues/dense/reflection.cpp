#include "eigenvalues/dense/reflection.h"

#include <cmath>
#include <numeric>

#include "runtime/random_fill.h"

namespace lmscope::eigenvalues {

AlignedBuffer reflection_vector(int64_t order) {
    AlignedBuffer v(order);
    fill_random(order, v.data());
    const double norm = std::sqrt(std::inner_product(v.data(), v.data() + order, v.data(), 0.0));
    for (int64_t i = 0; i < order; ++i) v[i] /= norm;
    return v;
}

}  // namespace lmscope::eigenvalues
