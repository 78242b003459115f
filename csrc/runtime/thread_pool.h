#pragma once

#include <cstdint>
#include <functional>

namespace lmscope {

// Calls task(0) .. task(count - 1), each once, on at most num_threads() threads, the caller among them. Which thread
// takes which index is not fixed, so a task writes only what its own index owns: results then do not depend on the
// number of threads. The first exception is rethrown here after all started tasks have ended. Safe to call from
// several threads at once: helpers are lent while fewer than num_threads() threads are at work, callers counted, so
// that callers as many as cores work alone. A nested call runs on the calling thread alone.
void parallel_for(int64_t count, const std::function<void(int64_t)>& task);

}  // namespace lmscope
