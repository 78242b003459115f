#include <atomic>
#include <cstdlib>

#include "lmscope/error.h"
#include "lmscope/isa.h"

namespace lmscope {
namespace {

constexpr Isa all_levels[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16};

// __builtin_cpu_supports also checks, through XCR0, that the operating system saves the registers.
bool available(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return true;
        case Isa::avx2:
#ifdef LMSCOPE_HAVE_AVX2
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
            return false;
#endif
        case Isa::avx512:
#ifdef LMSCOPE_HAVE_AVX512
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
            return false;
#endif
        case Isa::avx512_bf16:
#ifdef LMSCOPE_HAVE_AVX512_BF16
            return available(Isa::avx512) && __builtin_cpu_supports("avx512bf16");
#else
            return false;
#endif
    }
    return false;
}

std::string available_names() {
    std::string names;
    for (Isa isa : all_levels)
        if (available(isa)) names += (names.empty() ? "" : ", ") + std::string(name_of(isa));
    return names;
}

Isa parse(const std::string& name, const std::string& source) {
    for (Isa isa : all_levels)
        if (name == name_of(isa)) {
            if (available(isa)) return isa;
            throw InvalidArgument(source + "='" + name + "' is not available here; available: " + available_names());
        }
    throw InvalidArgument(source + "='" + name + "' is no instruction set level; available: " + available_names());
}

Isa initial() {
    if (const char* forced = std::getenv("LMSCOPE_ISA"); forced != nullptr && *forced != '\0')
        return parse(forced, "LMSCOPE_ISA");
    Isa best = Isa::scalar;
    for (Isa isa : all_levels)
        if (available(isa)) best = isa;
    return best;
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> isa{initial()};
    return isa;
}

}  // namespace

const char* name_of(Isa isa) {
    switch (isa) {
        case Isa::scalar:
            return "scalar";
        case Isa::avx2:
            return "avx2";
        case Isa::avx512:
            return "avx512";
        case Isa::avx512_bf16:
            return "avx512_bf16";
    }
    return "unknown";
}

Isa active_isa() { return current().load(std::memory_order_relaxed); }

void use_isa(const std::string& name) { current().store(parse(name, "isa"), std::memory_order_relaxed); }

}  // namespace lmscope
