#pragma once

#include <pthread.h>

#include <mutex>

namespace lmscope {

// What std::condition_variable calls. Its own wait, from GCC 12 on, needs a libstdc++ newer than manylinux_2_34
// promises.
class Condition {
public:
    Condition() = default;
    Condition(const Condition&) = delete;
    Condition& operator=(const Condition&) = delete;
    ~Condition() { pthread_cond_destroy(&condition_); }

    void notify_all() { pthread_cond_broadcast(&condition_); }

    template <class Predicate>
    void wait(std::unique_lock<std::mutex>& lock, Predicate ready) {
        while (!ready()) pthread_cond_wait(&condition_, lock.mutex()->native_handle());
    }

private:
    pthread_cond_t condition_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace lmscope
