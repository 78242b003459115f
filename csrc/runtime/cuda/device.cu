#include <cuda_runtime.h>

#include "runtime/cuda/device.h"

namespace lmscope::cuda {
namespace {

void check(cudaError_t status, const char* call) {
    if (status != cudaSuccess)
        throw CudaError(std::string(call) + " failed: " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) +
                        ")");
}

__global__ void write_thread_squares(int* target) { target[threadIdx.x] = static_cast<int>(threadIdx.x * threadIdx.x); }

// An architecture that the build left out shows here, with the device's name, not as a wrong result later.
void require_working(int device, const std::string& name) {
    constexpr int count = 32;
    check(cudaSetDevice(device), "cudaSetDevice");
    int* target = nullptr;
    check(cudaMalloc(&target, count * sizeof(int)), "cudaMalloc");
    write_thread_squares<<<1, count>>>(target);
    int squares[count] = {};
    const cudaError_t launch = cudaGetLastError();
    const cudaError_t copy = cudaMemcpy(squares, target, sizeof squares, cudaMemcpyDeviceToHost);
    cudaFree(target);
    check(launch, ("a kernel launch on " + name).c_str());
    check(copy, "cudaMemcpy");
    for (int i = 0; i < count; ++i)
        if (squares[i] != i * i)
            throw CudaError("device " + name + " computed " + std::to_string(squares[i]) + " for " +
                            std::to_string(i * i));
}

}  // namespace

bool available() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

std::vector<DeviceDescription> devices() {
    int count = 0;
    int current = 0;
    check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    if (count > 0) check(cudaGetDevice(&current), "cudaGetDevice");
    std::vector<DeviceDescription> found;
    for (int device = 0; device < count; ++device) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
        require_working(device, properties.name);
        found.push_back({properties.name, properties.major, properties.minor, properties.multiProcessorCount,
                         static_cast<int64_t>(properties.totalGlobalMem)});
    }
    if (count > 0) check(cudaSetDevice(current), "cudaSetDevice");
    return found;
}

}  // namespace lmscope::cuda
