#include "runtime/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lmscope/context.h"
#include "lmscope/error.h"
#include "runtime/condition.h"
#include "runtime/subnormals.h"

namespace lmscope {
namespace {

int cpus_of_process() {
    int cpus = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
    // A container may hold fewer CPUs than its affinity mask shows.
    std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
    std::string quota;
    double period = 0;
    if (quota_file >> quota >> period && quota != "max" && period > 0) {
        const int granted = static_cast<int>(std::strtod(quota.c_str(), nullptr) / period + 0.5);
        cpus = std::clamp(granted, 1, cpus);
    }
    return cpus;
}

std::atomic<int> threads_wanted{0};
std::atomic<int> threads_in_use{0};
thread_local bool inside_task = false;

// What runs inside is not divided further, and keeps subnormal numbers.
struct InsideTask {
    InsideTask() { inside_task = true; }
    InsideTask(const InsideTask&) = delete;
    InsideTask& operator=(const InsideTask&) = delete;
    ~InsideTask() { inside_task = false; }

    const KeepSubnormals keep_subnormals;
};

struct Job {
    const std::function<void(int64_t)>* task;
    int64_t count;
    int helpers_left;
    std::atomic<int64_t> next{0};
    int active = 0;
    std::exception_ptr error;
    std::mutex mutex;
    Condition finished;

    void work() {
        const InsideTask inside;
        for (int64_t index; (index = next.fetch_add(1)) < count;) {
            try {
                (*task)(index);
            } catch (...) {
                next.store(count);
                const std::lock_guard lock(mutex);
                if (!error) error = std::current_exception();
            }
        }
    }
};

class Pool {
public:
    void run(const std::shared_ptr<Job>& job, int helpers) {
        {
            const std::lock_guard lock(mutex_);
            while (static_cast<int>(workers_) < helpers) {
                std::thread([this] { serve(); }).detach();
                ++workers_;
            }
            jobs_.push_back(job);
        }
        wake_.notify_all();
        job->work();
        {
            const std::lock_guard lock(mutex_);
            jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());
        }
        std::unique_lock lock(job->mutex);
        job->finished.wait(lock, [&] { return job->active == 0; });
    }

private:
    void serve() {
        for (;;) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return !jobs_.empty(); });
                job = jobs_.front();
                const std::lock_guard job_lock(job->mutex);
                ++job->active;
                if (--job->helpers_left == 0) jobs_.pop_front();
            }
            job->work();
            {
                const std::lock_guard lock(job->mutex);
                --job->active;
            }
            job->finished.notify_all();
            const std::lock_guard lock(mutex_);
            jobs_.erase(std::remove(jobs_.begin(), jobs_.end(), job), jobs_.end());
        }
    }

    std::mutex mutex_;
    Condition wake_;
    std::deque<std::shared_ptr<Job>> jobs_;
    int workers_ = 0;
};

// A caller's own thread and the helpers that it is lent, as many as are free, at most `wanted`.
class Loan {
public:
    explicit Loan(int64_t wanted) {
        int used = threads_in_use.load();
        do {
            helpers = static_cast<int>(std::clamp<int64_t>(num_threads() - used - 1, 0, std::max<int64_t>(0, wanted)));
        } while (!threads_in_use.compare_exchange_weak(used, used + 1 + helpers));
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() { threads_in_use.fetch_sub(1 + helpers); }

    int helpers = 0;
};

// Never destroyed: workers may still wait on it while the process exits. A forked child has no workers and no other
// callers, and starts anew.
Pool* pool = nullptr;
std::mutex pool_mutex;

[[maybe_unused]] const int fork_handlers = pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                                                          [] {
                                                              pool = nullptr;
                                                              threads_in_use.store(0);
                                                              pool_mutex.unlock();
                                                          });

Pool& the_pool() {
    const std::lock_guard lock(pool_mutex);
    if (pool == nullptr) pool = new Pool;
    return *pool;
}

}  // namespace

int num_threads() {
    const int wanted = threads_wanted.load();
    if (wanted > 0) return wanted;
    static const int cpus = cpus_of_process();
    return cpus;
}

void set_num_threads(int threads) {
    if (threads < 1) throw InvalidArgument("threads must be at least 1, got " + std::to_string(threads));
    threads_wanted.store(threads);
}

void parallel_for(int64_t count, const std::function<void(int64_t)>& task) {
    if (inside_task) {
        for (int64_t index = 0; index < count; ++index) task(index);
        return;
    }
    const Loan loan(count - 1);
    if (loan.helpers == 0) {
        const InsideTask inside;
        for (int64_t index = 0; index < count; ++index) task(index);
        return;
    }
    auto job = std::make_shared<Job>();
    job->task = &task;
    job->count = count;
    job->helpers_left = loan.helpers;
    the_pool().run(job, loan.helpers);
    if (job->error) std::rethrow_exception(job->error);
}

}  // namespace lmscope
