#include "eigenvalues/band/chase_loops.h"

namespace lmscope::eigenvalues {

const Chase chase_avx512 = {start, next};

}  // namespace lmscope::eigenvalues
