#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace lmscope {

// While this lives, the thread computes with subnormal numbers, whatever its owner has set: torch.set_flush_denormal
// and programs built with -ffast-math make zeros of them, and of columns that hold nothing else.
class KeepSubnormals {
public:
    KeepSubnormals() = default;
    KeepSubnormals(const KeepSubnormals&) = delete;
    KeepSubnormals& operator=(const KeepSubnormals&) = delete;
#if defined(__x86_64__)
    ~KeepSubnormals() {
        if (before_ != during_) _mm_setcsr(before_);
    }

private:
    static constexpr unsigned flush_to_zero = 1U << 15;
    static constexpr unsigned subnormals_are_zero = 1U << 6;

    static unsigned enter(unsigned before) {
        const unsigned during = before & ~(flush_to_zero | subnormals_are_zero);
        if (before != during) _mm_setcsr(during);
        return during;
    }

    const unsigned before_ = _mm_getcsr();
    const unsigned during_ = enter(before_);
#else
    // Where there is nothing to set, it is still a variable that is used.
    ~KeepSubnormals() {}
#endif
};

}  // namespace lmscope
