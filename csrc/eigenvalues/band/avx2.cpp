#include "eigenvalues/band/chase_loops.h"

namespace lmscope::eigenvalues {

const Chase chase_avx2[] = {chase<16>, chase<32>, chase<48>, chase<64>};

}  // namespace lmscope::eigenvalues
