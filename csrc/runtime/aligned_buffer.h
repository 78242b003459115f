#pragma once

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
        data_.reset(static_cast<double*>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes)));
        if (!data_) throw std::bad_alloc();
    }
    double* data() { return data_.get(); }
    const double* data() const { return data_.get(); }
    double& operator[](int64_t index) { return data_.get()[index]; }
    double operator[](int64_t index) const { return data_.get()[index]; }
    explicit operator bool() const { return static_cast<bool>(data_); }

private:
    struct Free {
        void operator()(double* pointer) const { std::free(pointer); }
    };
    std::unique_ptr<double, Free> data_;
};

}  // namespace lmscope
