"""The AMX source of column_cosine as it stands, its intrinsics replaced by those of emulated_amx/tiles.h.

On a CPU that has AMX, test_column_cosine.py runs the instructions themselves, and here both are compared.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import lmscope
from lmscope import ColumnCosine, column_cosine

from .test_column_cosine import COLUMNS, DEPTHS, Matrix, check, gaussian, hard_matrices

ROOT = Path(__file__).resolve().parents[2]
EMULATION = Path(__file__).parent / "emulated_amx"
SOURCES = [
    EMULATION / "library.cpp",
    *sorted((ROOT / "csrc/column_cosine").glob("*.cpp")),
    *sorted((ROOT / "csrc/runtime/elements").glob("*.cpp")),
    ROOT / "csrc/runtime/thread_pool.cpp",
]
OTHER_TARGETS = ("avx2.cpp", "avx512.cpp", "avx512_bf16.cpp")
# The instruction sets are those of cmake/LmscopeIsa.cmake for amx but for AMX itself.
FLAGS = ["-std=c++20", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
FLAGS += ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"]
FIELDS = ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y")

Compare = Callable[..., ColumnCosine]


class _Matrix(ctypes.Structure):
    _fields_ = (("bfloat16", ctypes.c_void_p), ("depth", ctypes.c_int64), ("columns", ctypes.c_int64))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    before = lmscope.isa()
    try:
        lmscope.use_isa("avx512")  # which the source uses beside the tiles
    except ValueError as error:
        pytest.skip(str(error))
    finally:
        lmscope.use_isa(before)
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    built = tmp_path_factory.mktemp("emulated_amx") / "library.so"
    include = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc/include'}", "-include", str(EMULATION / "tiles.h")]
    sources = [str(path) for path in SOURCES if path.name not in OTHER_TARGETS]
    done = subprocess.run(
        [compiler, *FLAGS, "-DLMSCOPE_HAVE_AMX", *include, *sources, "-o", str(built)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(built))
    loaded.compare.restype = ctypes.c_char_p
    loaded.dot_product.restype = None
    return loaded


@pytest.fixture
def amx(library: ctypes.CDLL) -> Compare:
    def view(matrix: Matrix) -> tuple[Any, Any]:
        bits = np.ascontiguousarray(matrix).view(np.uint16)
        return bits, _Matrix(bits.ctypes.data, *bits.shape)

    def compare(x: Matrix, y: Matrix | None = None, *, bins: int = 2048, threads: int = 1) -> ColumnCosine:
        kept_x, of_x = view(x)
        kept_y, of_y = view(x if y is None else y)
        counts = np.empty(bins, np.int64)
        maxima = [np.empty(kept.shape[1]) for kept in (kept_x, kept_y)]
        places = [np.empty(kept.shape[1], np.int64) for kept in (kept_x, kept_y)]
        problem = library.compare(
            ctypes.byref(of_x),
            None if y is None else ctypes.byref(of_y),
            *(ctypes.c_int64(bins), ctypes.c_int64(threads)),
            *(ctypes.c_void_p(array.ctypes.data) for array in (counts, *maxima, *places)),
        )
        assert problem is None, problem
        zero = [np.flatnonzero(~kept.view(ml_dtypes.bfloat16).any(axis=0)) for kept in (kept_x, kept_y)]
        return ColumnCosine(counts, np.linspace(-1.0, 1.0, bins + 1), *maxima, *places, *zero)

    return compare


def same(found: ColumnCosine, expected: ColumnCosine) -> None:
    for field in FIELDS:
        assert np.array_equal(getattr(found, field), getattr(expected, field), equal_nan=True), field


def test_the_emulation_rounds_as_documented(library: ctypes.CDLL) -> None:
    """Even and odd products in sums of their own, each rounded; subnormal numbers are zero."""

    def product(a_row: NDArray[np.float64], b_column: NDArray[np.float64], start: float) -> np.float32:
        a, b = np.zeros((16, 32), ml_dtypes.bfloat16), np.zeros((32, 16), ml_dtypes.bfloat16)
        target = np.zeros((16, 16), np.float32)
        a[3], b[:, 5], target[3, 5] = a_row, b_column, start
        pairs = np.ascontiguousarray(b.reshape(16, 2, 16).swapaxes(1, 2))
        library.dot_product(*(ctypes.c_void_p(array.ctypes.data) for array in (a, pairs, target)))
        value = target[3, 5]
        target[3, 5] = 0
        assert not target.any()
        return np.float32(value)

    ones = np.ones(32)
    first = np.r_[2.0**24, ones[1:]]
    # The fifteen even ones are lost one by one; sixteen odd ones reach the sum together.
    assert product(first, ones, 0.0) == 2.0**24 + 16
    # Half a unit in the last place, to even: 1 + 2^24 is 2^24.
    assert product(np.r_[1.0, np.zeros(31)], ones, 2.0**24) == 2.0**24
    assert product(np.r_[3.0, np.zeros(31)], ones, 2.0**24) == 2.0**24 + 4
    assert product(ones * 2.0**-127, ones * 2.0**100, 0.0) == 0
    assert product(ones * 2.0**-126, ones * 2.0**100, 0.0) == 32 * 2.0**-26
    assert product(ones * 2.0**-64, ones * 2.0**-64, 0.0) == 0
    assert product(np.zeros(32), ones, 2.0**-130) == 0


def test_every_tile_edge(amx: Compare) -> None:
    for number, columns in enumerate(COLUMNS):
        depth = DEPTHS[number % 9]
        other = COLUMNS[(5 * number + 3) % len(COLUMNS)]
        check(gaussian(depth, columns), gaussian(depth, other, seed=1), compare=amx)
        check(gaussian(depth, columns), None, compare=amx)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_edge(depth: int, amx: Compare) -> None:
    check(gaussian(depth, 34), gaussian(depth, 19, seed=1), compare=amx)


def test_the_stated_error_holds_where_rounding_adds_up(amx: Compare) -> None:
    for _, x, y in (*hard_matrices(), *hard_matrices(8192, 40)):
        check(x.astype(ml_dtypes.bfloat16), y.astype(ml_dtypes.bfloat16), bins=65536, compare=amx)


def test_twins_reach_one(amx: Compare) -> None:
    x = gaussian(777, 60)
    order = np.random.default_rng(3).permutation(60)
    found = check(x, -x[:, order], compare=amx)
    assert (found.max_abs_x == 1).all()
    assert np.array_equal(found.argmax_y, order)


@pytest.mark.parametrize("scale", [2.0**-125, 2.0**-133])
def test_subnormal_columns_count_like_others(scale: float, amx: Compare) -> None:
    """Small integers times a power of two, where every level is exact."""
    random = np.random.default_rng(11)
    x, y = (random.integers(-7, 8, (90, 40)).astype(np.float64) for _ in range(2))
    expected = amx(x.astype(ml_dtypes.bfloat16), y.astype(ml_dtypes.bfloat16))
    same(amx((x * scale).astype(ml_dtypes.bfloat16), y.astype(ml_dtypes.bfloat16)), expected)
    same(column_cosine(x.astype(ml_dtypes.bfloat16), y.astype(ml_dtypes.bfloat16)), expected)


def test_zero_columns_are_left_out(amx: Compare) -> None:
    x, y = gaussian(50, 70), gaussian(50, 40, seed=1)
    x[:, [0, 16, 69]] = 0
    y[:, 1:33] = -0.0
    assert check(x, y, compare=amx).pairs == 67 * 8


def test_bits_do_not_depend_on_threads(amx: Compare) -> None:
    """Two blocks of x times two of y, so that threads configure and release their tiles side by side."""
    x, y = gaussian(70, 300), gaussian(70, 1100, seed=1)
    expected = amx(x, y)
    for threads in (2, 5):
        same(amx(x, y, threads=threads), expected)


def test_the_instructions_count_as_their_emulation(amx: Compare) -> None:
    """One unit in the last place of a cosine would move some of these pairs to another of so many bins."""
    before = lmscope.isa()
    try:
        lmscope.use_isa("amx")
    except ValueError as error:
        pytest.skip(str(error))
    try:
        for x, y in ((gaussian(900, 500), gaussian(900, 400, seed=1)), (gaussian(777, 300), None)):
            same(column_cosine(x, y, bins=65536), amx(x, y, bins=65536))
    finally:
        lmscope.use_isa(before)
