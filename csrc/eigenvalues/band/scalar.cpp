#include "eigenvalues/band/chase_loops.h"

namespace lmscope::eigenvalues {

const Chase chase_scalar = {start, next};

}  // namespace lmscope::eigenvalues
