#include "runtime/peak/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <string>

#include "lmscope/context.h"
#include "lmscope/error.h"
#include "lmscope/isa.h"
#include "lmscope/multiply_add_peak.h"
#include "runtime/thread_pool.h"

namespace lmscope {
namespace peak {

volatile float factor = 0.5F;
volatile float addend = 1.0F;

namespace {

using Clock = std::chrono::steady_clock;

// Short tasks, so that all threads end a round together.
constexpr double task_seconds = 1e-4;
constexpr int64_t tasks_of_a_thread = 200;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

const Loop& float32_loop() {
    switch (active_isa()) {
#ifdef LMSCOPE_HAVE_AMX
        case Isa::amx:
            return float32_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX512_BF16
        case Isa::avx512_bf16:
            return float32_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX512
        case Isa::avx512:
            return float32_avx512;
#endif
#ifdef LMSCOPE_HAVE_AVX2
        case Isa::avx2:
            return float32_avx2;
#endif
        default:
            return float32_scalar;
    }
}

const Loop& loop_of(const std::string& dtype) {
    if (dtype == "float32") return float32_loop();
    if (dtype != "bfloat16") throw UnsupportedDType("dtype must be bfloat16 or float32, got '" + dtype + "'");
    switch (active_isa()) {
#ifdef LMSCOPE_HAVE_AMX
        case Isa::amx:
            return bfloat16_amx;
#endif
#ifdef LMSCOPE_HAVE_AVX512_BF16
        case Isa::avx512_bf16:
            return bfloat16_avx512;
#endif
        default:
            return float32_loop();
    }
}

// As many steps as take about `task_seconds` on one thread.
int64_t steps_of_a_task(const Loop& loop, std::atomic<float>& sink) {
    int64_t steps = 64;
    for (;; steps *= 2) {
        const auto start = Clock::now();
        sink.store(loop.run(steps), std::memory_order_relaxed);
        if (seconds_since(start) >= task_seconds) return steps;
    }
}

}  // namespace
}  // namespace peak

double multiply_add_peak(const std::string& dtype, double seconds) {
    if (!(std::isfinite(seconds) && seconds > 0))
        throw InvalidArgument("seconds must be above zero and finite, got " + std::to_string(seconds));
    const peak::Loop& loop = peak::loop_of(dtype);
    std::atomic<float> sink{0};
    const int64_t steps = peak::steps_of_a_task(loop, sink);
    const int64_t tasks = num_threads() * peak::tasks_of_a_thread;
    double best = 0;
    const auto start = peak::Clock::now();
    do {
        const auto round = peak::Clock::now();
        parallel_for(tasks, [&](int64_t) { sink.store(loop.run(steps), std::memory_order_relaxed); });
        const double operations = loop.operations_per_step * static_cast<double>(steps * tasks);
        best = std::max(best, operations / peak::seconds_since(round));
    } while (peak::seconds_since(start) < seconds);
    return best;
}

}  // namespace lmscope
