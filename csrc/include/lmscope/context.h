#pragma once

namespace lmscope {

// Threads that one kernel call may use; the default is the number of CPUs that this process may run on.
int num_threads();
void set_num_threads(int threads);

}  // namespace lmscope
