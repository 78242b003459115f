"""Instruction set, threads and devices of the compiled kernels."""

from __future__ import annotations

from lmscope._core import (
    CudaError,
    cuda_available,
    cuda_devices,
    get_num_threads,
    isa,
    multiply_add_peak,
    set_num_threads,
    use_isa,
)

__all__ = [
    "CudaError",
    "cuda_available",
    "cuda_devices",
    "get_num_threads",
    "isa",
    "multiply_add_peak",
    "set_num_threads",
    "use_isa",
]
