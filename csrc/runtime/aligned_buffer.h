#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace lmscope {

// Uninitialised doubles on a cache-line boundary.
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(int64_t count) {
        const auto bytes = (static_cast<size_t>(count) * sizeof(double) + 63) / 64 * 64;
        const bool mapped = bytes >= mapped_bytes;
        void* data = mapped ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                            : std::aligned_alloc(64, bytes == 0 ? 64 : bytes);
        if (data == nullptr || data == MAP_FAILED) throw std::bad_alloc();
        if (mapped) madvise(data, bytes, MADV_HUGEPAGE);
        data_ = std::unique_ptr<double, Free>(static_cast<double*>(data), Free(mapped ? bytes : 0));
    }
    double* data() { return data_.get(); }
    const double* data() const { return data_.get(); }
    double& operator[](int64_t index) { return data_.get()[index]; }
    double operator[](int64_t index) const { return data_.get()[index]; }
    explicit operator bool() const { return static_cast<bool>(data_); }

private:
    // From here on memory goes back to the system at once, where the heap of every thread would keep some of it, and
    // comes in huge pages, where the system has them.
    static constexpr size_t mapped_bytes = size_t{1} << 22;

    struct Free {
        size_t mapped;
        Free() : mapped(0) {}
        explicit Free(size_t bytes) : mapped(bytes) {}
        void operator()(double* pointer) const {
            if (mapped > 0)
                munmap(pointer, mapped);
            else
                std::free(pointer);
        }
    };
    std::unique_ptr<double, Free> data_;
};

}  // namespace lmscope
