#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lmscope/error.h"

namespace lmscope::cuda {

struct DeviceDescription {
    std::string name;
    int major;
    int minor;
    int multiprocessors;
    int64_t memory_in_bytes;
};

// Whether this build holds the CUDA twins and a driver and a device are there to run them; never throws.
bool available();

// Every device, after one kernel launched on it has given the right answer.
std::vector<DeviceDescription> devices();

}  // namespace lmscope::cuda
