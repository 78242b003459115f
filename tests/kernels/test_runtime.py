"""Threads and forks change no bit of a result, instruction sets none beyond its bounds."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import lmscope
from lmscope.kernels import runtime
from lmscope.kernels.singular_values import StreamingSingularValues, singular_values

from .. import shapes
from ..levels import LEVELS

METHODS: tuple[Any, ...] = ("auto", "gram", "qr")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    threads, level = runtime.get_num_threads(), runtime.isa()
    yield
    runtime.set_num_threads(threads)
    runtime.use_isa(level)


def matrices() -> dict[str, Any]:
    low_rank = shapes.gaussian((400, 30)) @ shapes.gaussian((30, 200))
    tail = shapes.with_values((320, 280), np.r_[np.ones(270), np.full(10, 1e-7)])
    return {
        "bfloat16": shapes.spiked((700, 300)).astype(shapes.DTYPES["bfloat16"]),
        "float16": shapes.spiked((300, 333)).astype(np.float16),
        "float32 Fortran": np.asfortranarray(shapes.spiked((500, 290)).astype(np.float32)),
        "float64 geometric": shapes.geometric((350, 300)),
        "null tail": low_rank,
        "small tail": tail,
        "strided": shapes.gaussian((600, 300))[::2, ::-1],
        "odd": shapes.gaussian((37, 29)).astype(np.float16),
    }


def bits(matrix: Any) -> list[bytes]:
    found = []
    for method in METHODS:
        result = singular_values(matrix, method=method)
        found += [result.values.tobytes(), result.bounds.tobytes(), result.method.encode()]
    return found


def test_number_of_threads() -> None:
    assert 1 <= runtime.get_num_threads() <= len(os.sched_getaffinity(0))
    runtime.set_num_threads(3)
    assert runtime.get_num_threads() == 3
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"threads must be at least 1, got {wrong}"):
            runtime.set_num_threads(wrong)
    assert runtime.get_num_threads() == 3


@pytest.mark.parametrize("name", matrices())
def test_bits_do_not_depend_on_threads(name: str) -> None:
    matrix = matrices()[name]
    runtime.set_num_threads(1)
    expected = bits(matrix)
    for threads in (2, 3, 1):
        runtime.set_num_threads(threads)
        assert bits(matrix) == expected


def test_second_passes_are_among_the_matrices() -> None:
    assert singular_values(matrices()["null tail"]).refined > 17
    assert singular_values(matrices()["small tail"]).refined == 10


@pytest.mark.parametrize("name", matrices())
def test_instruction_sets_agree_within_the_bounds(name: str) -> None:
    """Their kernels fuse multiply-adds, or not, and sum in lanes of their own."""
    matrix = matrices()[name]
    runtime.use_isa("scalar")
    expected = {method: singular_values(matrix, method=method) for method in METHODS}
    compared = 0
    for level in LEVELS[1:]:
        try:
            runtime.use_isa(level)
        except ValueError:
            continue
        assert runtime.isa() == level
        for method, scalar in expected.items():
            found = singular_values(matrix, method=method)
            assert found.method == scalar.method
            assert np.all(np.abs(found.values - scalar.values) <= found.bounds + scalar.bounds)
        compared += 1
    if compared == 0:
        pytest.skip("this CPU has neither AVX2 nor AVX-512")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_widening_is_exact_for_every_finite_number(dtype: str) -> None:
    """Each of the 65536 patterns, in blocks of rows."""
    numbers = np.arange(65536, dtype=np.uint16).view(shapes.DTYPES[dtype])
    with np.errstate(invalid="ignore"):
        finite = numbers[np.isfinite(numbers.astype(np.float64))].reshape(-1, 32)
    exact = finite.astype(np.float64)
    for level in LEVELS:
        try:
            runtime.use_isa(level)
        except ValueError:
            continue
        for first in range(0, len(finite), 256):
            stream, wide = StreamingSingularValues(32), StreamingSingularValues(32)
            stream.update(finite[first : first + 256])
            wide.update(exact[first : first + 256])
            assert np.array_equal(stream.state()["triangle"], wide.state()["triangle"])


def test_calls_from_several_threads_give_the_same_bits() -> None:
    found = matrices()
    expected = {name: bits(matrix) for name, matrix in found.items()}
    with ThreadPoolExecutor(4) as pool:
        jobs = [(name, pool.submit(bits, matrix)) for _ in range(3) for name, matrix in found.items()]
        for name, job in jobs:
            assert job.result() == expected[name], name


def test_one_stream_fed_from_several_threads() -> None:
    blocks = [shapes.gaussian((20 + i, 30)) for i in range(24)]
    stream = StreamingSingularValues(30)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(stream.update, blocks))
    whole = singular_values(np.vstack(blocks))
    assert stream.rows == sum(map(len, blocks))
    assert np.all(np.abs(stream.result().values - whole.values) <= stream.result().bounds + whole.bounds)


@pytest.mark.parametrize("call", ["singular_values", "update", "result"])
def test_gil_is_released(call: str) -> None:
    """While one call computes, this thread goes on: it counts far beyond what one switch of threads would
    allow.
    """
    matrix = shapes.gaussian((1500, 900))
    stream = StreamingSingularValues(900, method="qr")
    stream.update(matrix)
    work = {
        "singular_values": lambda: singular_values(matrix, method="qr"),
        "update": lambda: stream.update(matrix),
        "result": stream.result,
    }[call]
    runtime.set_num_threads(1)
    done = threading.Event()
    started = threading.Event()

    def compute() -> None:
        started.set()
        work()
        done.set()

    thread = threading.Thread(target=compute)
    wakes = 0
    thread.start()
    started.wait()
    while not done.is_set():
        time.sleep(0.001)
        wakes += 1
    thread.join()
    assert wakes > 10


def _in_child(expected: list[bytes]) -> None:
    os._exit(0 if bits(shapes.spiked((300, 200))) == expected else 7)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_after_use() -> None:
    runtime.set_num_threads(2)
    expected = bits(shapes.spiked((300, 200)))
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        child = context.Process(target=_in_child, args=(expected,))
        child.start()
        child.join(60)
        if child.is_alive():
            child.kill()
            pytest.fail("the forked child hangs")
        assert child.exitcode == 0
    assert bits(shapes.spiked((300, 200))) == expected


def run(code: str, level: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LMSCOPE_ISA": level}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.parametrize("level", LEVELS)
def test_environment_forces_a_level(level: str) -> None:
    done = run("import lmscope; print(lmscope.isa())", level)
    if done.returncode != 0:
        assert f"LMSCOPE_ISA='{level}' is not available here" in done.stderr
        assert level != "scalar"
        pytest.skip(f"no {level} here")
    assert done.stdout.strip() == level


def test_environment_with_nonsense() -> None:
    code = "import numpy, lmscope; lmscope.singular_values(numpy.eye(2))"
    done = run(code, "sse9")
    assert done.returncode == 1
    assert "ValueError: LMSCOPE_ISA='sse9' is no instruction set level; available: scalar" in done.stderr
    assert run(code, "").returncode == 0


def test_use_isa() -> None:
    runtime.use_isa("scalar")
    assert runtime.isa() == lmscope.isa() == "scalar"
    with pytest.raises(ValueError, match="isa='sse9' is no instruction set level; available: scalar"):
        runtime.use_isa("sse9")
    assert runtime.isa() == "scalar"


def test_cuda_is_there_or_says_why_not() -> None:
    if runtime.cuda_available():
        assert runtime.cuda_devices()
        return
    with pytest.raises(runtime.CudaError, match=r"."):
        runtime.cuda_devices()
    assert issubclass(runtime.CudaError, RuntimeError)


def test_peak_of_multiply_adds() -> None:
    """Registers alone: wider ones do more, bfloat16 at least as much, a second core adds to it.

    The best of short tries: other processes can only slow one down.
    """

    def peak(dtype: str) -> float:
        return max(runtime.multiply_add_peak(dtype, 0.01) for _ in range(8))

    runtime.set_num_threads(1)
    rates = {}
    for level in (*LEVELS, "avx512_bf16", "amx"):
        try:
            runtime.use_isa(level)
        except ValueError:
            continue
        rates[level] = {dtype: peak(dtype) for dtype in ("float32", "bfloat16")}
        assert rates[level]["bfloat16"] > 0.8 * rates[level]["float32"]
    slowest, *_, fastest = ["scalar", *rates]
    # Half a multiply-add a cycle at one gigahertz, and more than any core has.
    assert 1e9 < rates[slowest]["float32"] < 1e15
    if slowest != fastest:
        assert rates[fastest]["float32"] > 1.2 * rates[slowest]["float32"]
    runtime.set_num_threads(2)
    if len(os.sched_getaffinity(0)) >= 2:
        assert peak("float32") > rates[fastest]["float32"] * 0.9


def test_peak_wants_a_known_dtype_and_a_time() -> None:
    with pytest.raises(TypeError, match="bfloat16 or float32, got 'float64'"):
        runtime.multiply_add_peak("float64", 0.1)
    for seconds in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds must be above zero"):
            runtime.multiply_add_peak("float32", seconds)
