#include "eigenvalues/band/chase_loops.h"

namespace lmscope::eigenvalues {

const Chase chase_avx2 = {start, next};

}  // namespace lmscope::eigenvalues
