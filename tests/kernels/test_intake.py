"""The door of every kernel: arrays come in without a copy, in any layout, and what cannot be right is refused
in words.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from lmscope.kernels.singular_values import StreamingSingularValues, singular_values
from lmscope.reference import singular_values as reference

from .. import shapes
from .accuracy import assert_within_bounds

TORCH = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
METHODS = ("auto", "gram", "qr")


def same(one: Any, other: Any) -> None:
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.bounds, other.bounds)
    assert one.method == other.method


@pytest.mark.parametrize("dtype", shapes.DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_layouts(dtype: str, method: Any) -> None:
    matrix = shapes.spiked((61, 37)).astype(shapes.DTYPES[dtype])
    truth, uncertainty = reference.singular_values(matrix)
    along_rows = singular_values(matrix, method=method)
    along_columns = singular_values(np.asfortranarray(matrix), method=method)
    for name, view in shapes.layouts(matrix):
        assert np.array_equal(view, matrix), name
        result = singular_values(view, method=method)
        assert_within_bounds(result, truth, uncertainty)
        # Elements are widened along whichever dimension is contiguous: one set of bits for each.
        same(result, along_columns if name == "Fortran" else result if "Fortran" in name else along_rows)
        assert_within_bounds(singular_values(view.T, method=method), truth, uncertainty)


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_broadcast(dtype: str) -> None:
    row = shapes.gaussian((1, 40)).astype(shapes.DTYPES[dtype])
    for view in (
        np.broadcast_to(row, (70, 40)),
        np.broadcast_to(row.T, (40, 70)),
        np.broadcast_to(row[:1, :1], (9, 8)),
    ):
        for method in METHODS:
            # Widened along the same dimension as the view: one set of bits for each.
            copy = np.array(view, order="F" if view.strides[1] == 0 < view.strides[0] else "C")
            same(singular_values(view, method=method), singular_values(copy, method=method))


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_torch(dtype: str) -> None:
    tensor = torch.from_numpy(shapes.spiked((61, 37))).to(TORCH[dtype])
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    array = tensor.view(bits).numpy().view(shapes.DTYPES[dtype])
    assert array.dtype == shapes.DTYPES[dtype]
    expected = singular_values(array)
    same(singular_values(tensor), expected)
    same(singular_values(torch.nn.Parameter(tensor)), expected)
    same(singular_values(tensor.clone().requires_grad_() * 1), expected)
    same(singular_values(tensor.T), singular_values(array.T))
    same(singular_values(tensor[::2, 1:30:3]), singular_values(array[::2, 1:30:3]))
    same(singular_values(tensor[:1].expand(50, -1)), singular_values(np.broadcast_to(array[:1], (50, 37))))
    stream = StreamingSingularValues(37)
    stream.update(tensor.clone().requires_grad_())
    same(stream.result(), singular_values(array, method="gram"))


def test_lazily_negated_tensor_is_read_right() -> None:
    matrix = torch.randn(9, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)).conj()
    assert matrix.imag.is_neg()
    stream, expected = StreamingSingularValues(5), StreamingSingularValues(5)
    for part in (matrix.real, matrix.imag):
        stream.update(part + 0 if part.is_neg() else part)
        expected.update(part.resolve_neg())
    same(stream.result(), expected.result())
    both = torch.cat([matrix.real, matrix.imag.resolve_neg()], dim=1)
    same(singular_values(matrix.imag), singular_values(both[:, 5:].contiguous().T.contiguous().T.clone()))


def test_arrays_are_left_alone() -> None:
    for dtype in shapes.DTYPES.values():
        for order in ("C", "F"):
            matrix = np.array(
                shapes.with_values((60, 40), np.geomspace(1, 1e-12, 40)).astype(dtype), order=order
            )
            before = matrix.tobytes()
            for method in METHODS:
                singular_values(matrix, method=method)
            assert matrix.tobytes() == before


def test_no_copy() -> None:
    """A broadcast view of 400 MB costs neither its own memory nor a second copy of it."""
    row = shapes.gaussian((1, 64)).astype(np.float32)
    view = np.broadcast_to(row, (1_600_000, 64))
    assert view.nbytes > 400_000_000
    code = (
        "import resource, numpy as np\n"
        "from lmscope.kernels.singular_values import singular_values\n"
        "row = np.linspace(1, 2, 64, dtype=np.float32)\n"
        "singular_values(np.broadcast_to(row, (100, 64)))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "result = singular_values(np.broadcast_to(row, (1_600_000, 64)), method='gram')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, result.values[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown, largest = done.stdout.split()
    assert int(grown) < 40_000, "kilobytes"
    row64 = np.linspace(1, 2, 64, dtype=np.float32).astype(np.float64)
    assert float(largest) == pytest.approx(np.sqrt((row64**2).sum() * 1_600_000), rel=1e-12)

    matrix = np.ones((2000, 1000), ml_dtypes.bfloat16)
    tracemalloc.start()
    singular_values(matrix, method="gram")
    python_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert python_peak < 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


class Unnamed:
    """Not an array."""


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ([[1.0, 2.0]], TypeError, "w must be a numpy array or a torch tensor, got list; pass numpy.asarray"),
        (None, TypeError, "got NoneType"),
        (Unnamed(), TypeError, "got Unnamed"),
        (np.float64(3), TypeError, "got float64"),
        (np.ones(3), ValueError, "w must be 2-D, got 1-D"),
        (np.ones((2, 2, 2)), ValueError, "w must be 2-D, got 3-D"),
        (np.ones((2, 2), ml_dtypes.bfloat16)[0], ValueError, "w must be 2-D, got 1-D"),
        (np.ones((0, 3)), ValueError, r"w has shape \(0, 3\)"),
        (np.ones((3, 0), np.float16), ValueError, r"w has shape \(3, 0\)"),
        (torch.ones(0, 3), ValueError, r"w has shape \(0, 3\)"),
        (
            np.ones((2, 2), np.int64),
            TypeError,
            "w has dtype int64; taken are float64, float32, float16 and bfloat16",
        ),
        (np.ones((2, 2), np.uint16), TypeError, "w has dtype uint16"),
        (np.ones((2, 2), bool), TypeError, "w has dtype bool"),
        (np.ones((2, 2), complex), TypeError, "w has dtype complex128"),
        (np.ones((2, 2), np.longdouble), TypeError, "longdouble|float128"),
        (np.ones((2, 2), object), TypeError, "w of dtype object"),
        (np.ones((2, 2), ">f8"), TypeError, "w of dtype >f8 .* native byte order"),
        (np.ones((2, 2), ml_dtypes.float8_e4m3fn), TypeError, "float8_e4m3fn"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), TypeError, "float8_e4m3fn"),
        (torch.ones(2, 2, dtype=torch.int8), TypeError, "torch.int8"),
        (torch.ones(2, 2, dtype=torch.complex64), TypeError, "torch.complex64"),
        (torch.ones(2, 2, device="meta"), TypeError, "meta"),
        (torch.eye(2).to_sparse(), TypeError, "layout"),
        (np.ma.masked_less(np.ones((2, 2)), 0), TypeError, "masked array: fill it first"),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}"[
        :40
    ],
)
def test_refused(argument: Any, error: type[Exception], message: str) -> None:
    for method in METHODS:
        with pytest.raises(error, match=message):
            singular_values(argument, method=method)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_cuda_tensor_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"CUDA tensor; this kernel runs on the CPU: pass it with \.cpu\(\)"):
        singular_values(torch.ones(2, 2, device="cuda"))


def test_wrong_parameters() -> None:
    matrix = np.eye(3)
    with pytest.raises(ValueError, match="method must be 'auto', 'gram' or 'qr', got 'grm'"):
        singular_values(matrix, method="grm")  # type: ignore[arg-type]
    for rtol in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="rtol must be positive"):
            singular_values(matrix, rtol=rtol)
    with pytest.raises(TypeError):
        singular_values(matrix, "gram")  # type: ignore[misc]


@pytest.mark.parametrize("dtype", shapes.DTYPES)
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_non_finite_is_found(dtype: str, bad: float) -> None:
    word = "NaN" if np.isnan(bad) else "Inf" if bad > 0 else "-Inf"
    for row, column in [(0, 0), (12, 17), (39, 34), (3, 33)]:
        matrix = shapes.gaussian((40, 35)).astype(shapes.DTYPES[dtype])
        matrix[row, column] = bad
        matrix[39, 34] = bad  # a later one must not be the one that is named
        for _, view in shapes.layouts(matrix):
            with pytest.raises(ValueError, match=f"w has {word} at row {row}, column {column};"):
                singular_values(view)
        with pytest.raises(ValueError, match=f"w has {word} at row {min(column, 34)}, column {row};"):
            singular_values(matrix.T if (row, column) != (12, 17) else np.array(matrix.T))


def test_largest_finite_values_are_no_error() -> None:
    for dtype in shapes.DTYPES.values():
        # The last rounding of a value at float64's own end may pass it.
        largest = float(ml_dtypes.finfo(dtype).max) / (2 if dtype == np.float64 else 1)
        result = singular_values(np.diag([largest, -largest, 0.0]).astype(dtype))
        assert result.values[0] == pytest.approx(largest, rel=1e-14)


def test_values_beyond_float64_are_an_error() -> None:
    for method in METHODS:
        with pytest.raises(ValueError, match="exceeds the range of float64"):
            singular_values(np.full((3, 2), 1e308), method=method)
    stream = StreamingSingularValues(2)
    stream.update(np.full((3, 2), 1e308))
    with pytest.raises(ValueError, match="exceeds the range of float64"):
        stream.result()
