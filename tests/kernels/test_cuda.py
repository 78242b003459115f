"""The CUDA side of the build: without a GPU it says so, on one it computes.

`make cuda` runs this against a build with the CUDA twins (LMSCOPE_EXPECT_CUDA_BUILD=1);
benchmarks/gpu_check.py runs it on a GPU, where LMSCOPE_REQUIRE_CUDA=1 makes a missing one a failure.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import lmscope
from lmscope.analyses.similarity import docs
from lmscope.kernels import runtime
from lmscope.kernels.column_cosine import PackedColumns, column_cosine
from lmscope.kernels.entry_statistics import entry_statistics
from lmscope.kernels.randomized_nulls import permutation_top_values, sign_flip_top_values
from lmscope.kernels.singular_values import StreamingSingularValues, singular_values

kernels_without_twin = pytest.mark.parametrize(
    "kernel",
    [
        singular_values,
        entry_statistics,
        sign_flip_top_values,
        permutation_top_values,
        lambda w: StreamingSingularValues(w.shape[1]).update(w),
        PackedColumns,
        column_cosine,
        lambda w: column_cosine(np.eye(4), w),
        lambda w: docs(np.eye(4), w),
        lambda w: docs(w, np.eye(4)),
    ],
    ids=[
        *("singular_values", "entry_statistics", "sign_flip", "permutation", "streaming", "packed"),
        *("column_cosine", "column_cosine_y", "docs_y", "docs_x"),
    ],
)

EXPECT_CUDA_BUILD = os.environ.get("LMSCOPE_EXPECT_CUDA_BUILD") == "1"


def core_file() -> str:
    spec = find_spec("lmscope._core")
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def without_device(code: str) -> str:
    """Output of `code` in a process that sees no GPU, whatever the machine has."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_import_and_compute_without_a_device() -> None:
    code = (
        "import numpy, lmscope; print(lmscope.cuda_available());"
        "print(lmscope.singular_values(numpy.diag([3.0, 2.0])).values)"
    )
    assert without_device(code).split("\n")[:2] == ["False", "[3. 2.]"]


def test_devices_without_a_device_says_why() -> None:
    code = (
        "from lmscope.kernels import runtime\n"
        "try: runtime.cuda_devices()\n"
        "except runtime.CudaError as error: print(isinstance(error, RuntimeError), error)"
    )
    said = without_device(code)
    if EXPECT_CUDA_BUILD:
        assert re.match(
            r"True cudaGetDeviceCount failed: cudaError(NoDevice|InsufficientDriver|StubLibrary) \(.+\)", said
        )
    elif "no CUDA" in said:
        assert "LMSCOPE_CUDA=ON" in said
    else:
        assert said.startswith("True cudaGetDeviceCount failed: ")


def test_core_needs_no_cuda_library() -> None:
    """cudart is linked statically and opens the driver at run time: one wheel serves all machines."""
    readelf = shutil.which("readelf")
    assert readelf is not None, "readelf comes with every C++ compiler"
    found = subprocess.run([readelf, "-d", core_file()], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", found)
    assert any(name.startswith("libscipy_openblas64_") for name in needed)
    assert not [name for name in needed if "cuda" in name or "cublas" in name]


@pytest.mark.skipif(not EXPECT_CUDA_BUILD, reason="this build need not hold the CUDA twins; run: make cuda")
def test_core_holds_device_code() -> None:
    found = subprocess.run(["readelf", "-S", "-W", core_file()], capture_output=True, text=True, check=True)
    assert ".nv_fatbin" in found.stdout


class Tensor(ctypes.Structure):
    """DLTensor and the fields behind it in DLManagedTensor."""

    _fields_ = (
        *(("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)),
        *(("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8)),
        *(("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64))),
        *(("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)),
        *(("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)),
    )


class OnCuda:
    """What a float64 tensor on a GPU says of itself; where its data are nothing may be read."""

    shape = (4, 4)

    def __init__(self) -> None:
        self.sizes = (ctypes.c_int64 * 2)(*self.shape)
        cuda, float_code = 2, 2
        self.tensor = Tensor(8, cuda, 0, 2, float_code, 64, 1, self.sizes, None, 0, None, None)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.device_type, self.tensor.device_id

    def __dlpack__(self, **_: object) -> object:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


@kernels_without_twin
def test_a_tensor_that_lives_on_cuda_is_refused_on_any_machine(kernel) -> None:
    with pytest.raises(TypeError, match=r"CUDA.*\.cpu\(\)"):
        kernel(OnCuda())


@pytest.fixture
def cuda_device() -> None:
    if lmscope.cuda_available():
        return
    reason = "no GPU, or a build without CUDA; on a machine with one: python benchmarks/gpu_check.py"
    if os.environ.get("LMSCOPE_REQUIRE_CUDA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.cuda
@pytest.mark.usefixtures("cuda_device")
def test_every_device_computes() -> None:
    """cuda_devices launches a kernel on each device and checks what it wrote."""
    devices = runtime.cuda_devices()
    assert devices
    for device in devices:
        assert device["name"]
        assert device["compute_capability"] >= (8, 0)
        assert device["multiprocessors"] >= 1
        assert device["memory_in_bytes"] > 2**30


@pytest.mark.cuda
@pytest.mark.usefixtures("cuda_device")
@kernels_without_twin
def test_kernel_without_twin_refuses_a_cuda_tensor(kernel) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    matrix = torch.from_numpy(np.eye(4)).to("cuda")
    with pytest.raises(TypeError, match=r"CUDA.*\.cpu\(\)"):
        kernel(matrix)
