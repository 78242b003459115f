#ifdef LMSCOPE_HAVE_AMX
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "lmscope/error.h"
#include "lmscope/isa.h"

namespace lmscope {
namespace {

constexpr Isa all_levels[] = {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx};

#ifdef LMSCOPE_HAVE_AMX
__attribute__((target("xsave"))) uint64_t saved_states() { return _xgetbv(0); }

bool tiles_are_saved() {
    constexpr uint32_t amx = 1U << 22 | 1U << 24 | 1U << 25;  // CPUID leaf 7, EDX: bf16, tile, int8
    constexpr uint64_t configuration_and_data = 3ULL << 17;   // XCR0
    uint32_t a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & amx) == amx &&
           (saved_states() & configuration_and_data) == configuration_and_data;
}

// Linux lets a process use tiles once it has asked: then the state saved for its threads may grow by 8 KB each.
bool tiles_are_granted() {
    constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM, which older kernel headers lack
    constexpr long tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

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
            // Every CPU that has BF16 has the older VNNI, but a hypervisor may hide it.
            return available(Isa::avx512) && __builtin_cpu_supports("avx512bf16") &&
                   __builtin_cpu_supports("avx512vnni");
#else
            return false;
#endif
        case Isa::amx:
#ifdef LMSCOPE_HAVE_AMX
            return available(Isa::avx512_bf16) && tiles_are_saved() && tiles_are_granted();
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
        case Isa::amx:
            return "amx";
    }
    return "unknown";
}

Isa active_isa() { return current().load(std::memory_order_relaxed); }

void use_isa(const std::string& name) { current().store(parse(name, "isa"), std::memory_order_relaxed); }

}  // namespace lmscope
