#pragma once

#include <stdexcept>

namespace lmscope {

// A bad value: ValueError in Python.
struct InvalidArgument : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

// A dtype or device that the kernel does not take: TypeError in Python.
struct UnsupportedDType : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// LAPACK gave up or the machine did: RuntimeError in Python.
struct NumericalError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A CUDA call failed or this build has none: lmscope.CudaError in Python.
struct CudaError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace lmscope
