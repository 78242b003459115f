#pragma once

#include <cstdint>

// The stable part of the DLPack 1.x ABI (dmlc/dlpack, dlpack.h), as far as it is read here.
namespace lmscope::bindings::dlpack {

constexpr int32_t device_cpu = 1;
constexpr int32_t device_cuda = 2;
constexpr int32_t device_cuda_host = 3;
constexpr int32_t device_cuda_managed = 13;

constexpr uint8_t code_float = 2;
constexpr uint8_t code_bfloat = 4;

struct DataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
};

struct Tensor {
    void* data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    DataType dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
};

struct Managed {
    Tensor tensor;
    void* manager_context;
    void (*deleter)(Managed*);
};

struct ManagedVersioned {
    uint32_t major;
    uint32_t minor;
    void* manager_context;
    void (*deleter)(ManagedVersioned*);
    uint64_t flags;
    Tensor tensor;
};

}  // namespace lmscope::bindings::dlpack
