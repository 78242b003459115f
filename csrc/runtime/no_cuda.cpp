#include "runtime/cuda/device.h"

namespace lmscope::cuda {

bool available() { return false; }

std::vector<DeviceDescription> devices() {
    throw CudaError("this build of lmscope has no CUDA: build it with -Ccmake.define.LMSCOPE_CUDA=ON");
}

}  // namespace lmscope::cuda
