"""The Gram matrix by way of integers (csrc/runtime/integer_gram), through the stream that uses it, and its
AMX source on emulated tiles.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import lmscope
from lmscope.kernels import runtime
from lmscope.kernels.singular_values import StreamingSingularValues, singular_values

from .accuracy import assert_within_bounds

ROOT = Path(__file__).resolve().parents[2]
EMULATION = Path(__file__).parent / "emulated_amx"
FOLDER = ROOT / "csrc/runtime/integer_gram"
SOURCES = [EMULATION / "integer_gram.cpp", ROOT / "csrc/runtime/thread_pool.cpp"]
SOURCES += [FOLDER / name for name in ("amx.cpp", "avx512.cpp", "panels.cpp", "products.cpp", "units.cpp")]
FLAGS = ["-std=c++20", "-O1", "-shared", "-fPIC", "-pthread"]
FLAGS += ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma", "-mf16c"]

# The least that takes the integer route, in panels and quads that are not full.
ROWS, COLUMNS = 523, 517
# All of a chunk's rows; the float64 route adds up 4032 of so many columns at once.
CHUNK = 4096
# Elements beyond the sixteen bits of their column add rounding errors of float64, relative to both columns.
ROUNDING = 8 * 2.0**-53

Matrix = NDArray[Any]
Floats = NDArray[np.float64]


@contextmanager
def level(name: str) -> Iterator[None]:
    before = lmscope.isa()
    try:
        lmscope.use_isa(name)
    except ValueError as error:
        pytest.skip(str(error))
    try:
        yield
    finally:
        lmscope.use_isa(before)


@pytest.fixture
def _integers() -> Iterator[None]:
    with level("avx512_bf16"):
        yield


through_the_library = pytest.mark.usefixtures("_integers")


def lower(triangle: Floats) -> Floats:
    return np.tril(triangle if np.any(np.tril(triangle, -1)) else triangle.T)


def state(matrix: Any) -> dict[str, Any]:
    stream = StreamingSingularValues(matrix.shape[1], method="gram")
    stream.update(matrix)
    return stream.state()


def gram(matrix: Any) -> Floats:
    return lower(state(matrix)["triangle"])


def float64_gram(matrix: Any) -> Floats:
    with level("avx512"):
        return gram(matrix)


def random(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((rows, columns))


def heavy_tailed() -> Floats:
    rng = np.random.default_rng(1)
    matrix: Floats = rng.standard_t(4, (ROWS, COLUMNS))
    matrix[:, ::100] *= 200
    matrix[::250] *= 200
    return matrix


def wide_columns() -> Floats:
    """Columns from 1e-37 to 1e37, one element of each a million times the others."""
    matrix = random(seed=2)
    matrix[np.arange(COLUMNS) % ROWS, np.arange(COLUMNS)] *= 1e6
    return matrix * np.geomspace(1e-37, 1e31, COLUMNS)


def sparse() -> Floats:
    matrix = random(seed=3)
    matrix[np.random.default_rng(4).random(matrix.shape) < 0.99] = 0
    matrix[:, [0, 31, 32, 516]] = 0
    return matrix


def equal() -> Floats:
    return np.full((ROWS, COLUMNS), 0.1)


def subnormal() -> Floats:
    return np.random.default_rng(5).integers(-127, 128, (ROWS, COLUMNS)) * 2.0**-133


def scattered(rows: int) -> Matrix:
    """Over so many binades that most elements are left over."""
    return np.exp2(20 * random(rows, seed=7)).astype(ml_dtypes.bfloat16)


FAMILIES = [random, heavy_tailed, wide_columns, sparse, equal, subnormal]


def assert_products(found: Floats, matrix: Matrix) -> None:
    """Extended precision has 11 bits more; some of the columns keep it quick."""
    exact = matrix.astype(np.longdouble)
    some = np.r_[0:40:8, 100:COLUMNS:41, COLUMNS - 1]
    expected = exact.T @ exact[:, some]
    norms = np.sqrt((exact**2).sum(axis=0))
    error = np.abs(found[:, some] - expected)
    below = np.arange(found.shape[0])[:, None] >= some[None, :]
    assert np.all(error[below] <= (ROUNDING * norms[:, None] * norms[some])[below])


@through_the_library
def test_integers_are_exact() -> None:
    """Sixteen bits that a sum of squares keeps: bit for bit, whatever the scale of a column."""
    rng = np.random.default_rng(6)
    shape = (8100, COLUMNS)
    integers = rng.integers(-128, 129, shape) * 2.0 ** rng.integers(0, 7, shape)
    scales = 2.0 ** rng.integers(-60, 60, COLUMNS)
    expected = np.tril(integers.T @ integers) * scales[:, None] * scales
    matrix = (integers * scales).astype(ml_dtypes.bfloat16)
    assert np.array_equal(gram(matrix), expected)
    assert state(matrix)["additions"] == 2


@through_the_library
@pytest.mark.parametrize("family", FAMILIES)
def test_products_of_hard_matrices(family: Callable[[], Floats]) -> None:
    matrix = family().astype(ml_dtypes.bfloat16)
    assert_products(gram(matrix), matrix)


@through_the_library
def test_too_many_leftovers_take_the_float64_route() -> None:
    matrix = scattered(ROWS)
    assert np.array_equal(gram(matrix), float64_gram(matrix))


def test_the_environment_asks_for_more() -> None:
    """Chunks have 4096 rows on the integer route and 4032 of 520 columns on the other."""
    code = (
        "import numpy, lmscope; from lmscope.kernels.singular_values import StreamingSingularValues\n"
        "lmscope.use_isa('avx512_bf16'); stream = StreamingSingularValues(520, method='gram')\n"
        "stream.update(numpy.eye(4096, 520, dtype=numpy.float16)); print(stream.state()['additions'])"
    )

    def run(asked: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LMSCOPE_INTEGER_GRAM": asked}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )

    assert [run(asked).stdout for asked in ("", "amx", "amx,float16")] == ["2\n", "2\n", "1\n"]
    assert "ValueError: LMSCOPE_INTEGER_GRAM='1' asks for what there is not" in run("1").stderr


@through_the_library
@pytest.mark.parametrize("order", ["first", "last"])
def test_a_chunk_of_each_route(order: str) -> None:
    """That of the float64 route is the first one or the last one."""
    rng = np.random.default_rng(9)
    integers = rng.integers(-128, 129, (CHUNK if order == "last" else ROWS, COLUMNS))
    exact = (integers * 2.0**66).astype(ml_dtypes.bfloat16)  # about as large as the others
    floats = scattered(ROWS if order == "last" else CHUNK)
    parts = [exact, floats] if order == "last" else [floats, exact]
    stream = StreamingSingularValues(COLUMNS, method="gram")
    for part in parts:
        stream.update(part)
    apart, at_once = stream.state(), state(np.concatenate(parts))
    assert np.array_equal(at_once["triangle"], apart["triangle"])
    assert at_once["additions"] == apart["additions"]
    assert np.array_equal(gram(floats), float64_gram(floats))
    assert_products(gram(np.concatenate(parts)), np.concatenate(parts))


@through_the_library
def test_columns_with_several_runs_of_leftovers() -> None:
    """More than 512 of them in a column, two such columns in one panel and one in another, 1 % in all."""
    matrix = random(CHUNK, seed=10).astype(ml_dtypes.bfloat16)
    some = [8, 24, 141]
    matrix[:, some] = scattered(CHUNK)[:, some]
    assert state(matrix)["additions"] == 1
    assert_products(gram(matrix), matrix)


FLOAT16 = """
import sys
import lmscope, numpy
from lmscope.kernels.singular_values import StreamingSingularValues
matrix = numpy.load(sys.argv[1])
stream = StreamingSingularValues(matrix.shape[1], method="gram")
stream.update(matrix)
numpy.savez(sys.argv[2], **{name: stream.state()[name] for name in ("triangle", "additions")})
"""


@through_the_library
def test_float16_where_it_is_asked_for(tmp_path: Path) -> None:
    matrix = random(CHUNK, seed=11) * 10.0 ** np.linspace(-2, 2, COLUMNS)
    matrix[:, 100] = np.random.default_rng(12).integers(-1024, 1025, CHUNK)
    matrix = matrix.astype(np.float16)
    np.save(tmp_path / "matrix.npy", matrix)
    command = [sys.executable, "-c", FLOAT16, str(tmp_path / "matrix.npy"), str(tmp_path / "state.npz")]
    asked = {"LMSCOPE_ISA": "avx512_bf16", "LMSCOPE_INTEGER_GRAM": "float16"}
    subprocess.run(command, env={**os.environ, **asked}, check=True)
    with level("avx512"):
        assert state(matrix)["additions"] == 2
    with np.load(tmp_path / "state.npz") as found:
        assert found["additions"] == 1
        assert_products(lower(found["triangle"]), matrix)


@through_the_library
def test_bits_depend_on_neither_threads_nor_strides() -> None:
    matrix = heavy_tailed().astype(ml_dtypes.bfloat16)
    expected = gram(matrix)
    wide = np.zeros((ROWS, 2 * COLUMNS), ml_dtypes.bfloat16)
    wide[:, ::2] = matrix
    for same in (np.asfortranarray(matrix), wide[:, ::2], np.ascontiguousarray(matrix[::-1])[::-1]):
        assert np.array_equal(gram(same), expected)
    before = runtime.get_num_threads()
    try:
        for threads in (1, 2, 5):
            runtime.set_num_threads(threads)
            assert np.array_equal(gram(matrix), expected)
    finally:
        runtime.set_num_threads(before)


@through_the_library
def test_streams_of_both_routes_merge() -> None:
    matrix = heavy_tailed().astype(ml_dtypes.bfloat16)
    whole = StreamingSingularValues(COLUMNS, method="gram")
    for rows in (matrix, matrix[:100], matrix.astype(np.float32)):
        part = StreamingSingularValues(COLUMNS, method="gram")
        part.update(rows)
        whole.merge(part)
    doubled = np.concatenate([matrix, matrix[:100], matrix]).astype(np.float64)
    assert_within_bounds(
        whole.result(), np.linalg.svd(doubled, compute_uv=False), 1e-13 * np.linalg.norm(doubled)
    )


@through_the_library
def test_values_lie_within_their_bounds() -> None:
    matrix = heavy_tailed().astype(ml_dtypes.bfloat16)
    truth = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    assert_within_bounds(singular_values(matrix, method="gram"), truth, 1e-13 * truth[0])


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    with level("avx512"):  # which the sources use beside the tiles
        pass
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    built = tmp_path_factory.mktemp("emulated_amx") / "integer_gram.so"
    include = [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc/include'}", "-include", str(EMULATION / "tiles.h")]
    command = [compiler, *FLAGS, *include, *map(str, SOURCES), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(built))
    loaded.add_products.restype = ctypes.c_char_p
    loaded.dot_product.restype = None
    return loaded


def amx_gram(library: ctypes.CDLL, matrix: Matrix, *, rows_at_once: int = 4096, threads: int = 1) -> Floats:
    bits = np.ascontiguousarray(matrix).view(np.uint16)
    rows, columns = bits.shape
    triangle = np.zeros((columns, columns))
    sizes = map(ctypes.c_int64, (rows, columns, rows_at_once, threads))
    problem = library.add_products(
        ctypes.c_void_p(bits.ctypes.data),
        int(matrix.dtype == ml_dtypes.bfloat16),
        *sizes,
        ctypes.c_void_p(triangle.ctypes.data),
    )
    assert problem is None, problem
    return triangle.T


def test_the_emulated_instruction(emulated: ctypes.CDLL) -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((16, 64), (64, 16)))
    target = np.full((16, 16), 3, np.int32)
    quads = np.ascontiguousarray(b.reshape(16, 4, 16).swapaxes(1, 2))
    emulated.dot_product(*(ctypes.c_void_p(array.ctypes.data) for array in (a, quads, target)))
    assert np.array_equal(target, a.astype(np.int32) @ b.astype(np.int32) + 3)


@pytest.mark.parametrize("family", [heavy_tailed, wide_columns, subnormal])
def test_tiles_on_hard_matrices(family: Callable[[], Floats], emulated: ctypes.CDLL) -> None:
    matrix = family().astype(ml_dtypes.bfloat16)
    assert_products(amx_gram(emulated, matrix), matrix)


@through_the_library
@pytest.mark.parametrize("family", [heavy_tailed, wide_columns])
def test_tiles_give_the_same_bits(family: Callable[[], Floats], emulated: ctypes.CDLL) -> None:
    matrix = family().astype(ml_dtypes.bfloat16)
    assert np.array_equal(amx_gram(emulated, matrix), gram(matrix))


def test_tiles_on_float16_and_edges(emulated: ctypes.CDLL) -> None:
    for rows, columns in ((1, 1), (3, 33), (65, 31), (400, 70), (130, 257)):
        matrix = (random(rows, columns) * 10.0 ** np.linspace(-7, 3, columns)).astype(np.float16)
        found = amx_gram(emulated, matrix, rows_at_once=128, threads=2)
        exact = matrix.astype(np.longdouble)
        norms = np.sqrt((exact**2).sum(axis=0))
        assert np.all(np.abs(found - np.tril(exact.T @ exact)) <= ROUNDING * np.outer(norms, norms))
