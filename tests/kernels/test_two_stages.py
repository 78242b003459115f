"""Above order 512 all threads share one matrix in pipelines: the same bits however many there are, with
several calls at once and after a fork.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lmscope.kernels.singular_values import singular_values
from lmscope.kernels.symmetric_eigenvalues import symmetric_eigenvalues

from .. import shapes

Call = Callable[[Any], bytes]


def of_symmetric(matrix: Any) -> bytes:
    return symmetric_eigenvalues(matrix[: matrix.shape[1]]).values.tobytes()


def of_gram(matrix: Any) -> bytes:
    result = singular_values(matrix, method="gram")
    return result.values.tobytes() + result.bounds.tobytes()


CALLS = [of_symmetric, of_gram]


@pytest.mark.parametrize("order", [700, 1100])
@pytest.mark.parametrize("call", CALLS)
def test_many_threads(call: Call, order: int, threads: Callable[[int], None]) -> None:
    matrix = shapes.gaussian((order + 20, order))
    threads(1)
    expected = call(matrix)
    for count in (5, 16):
        threads(count)
        for _ in range(3):
            assert call(matrix) == expected


@pytest.mark.parametrize("call", CALLS)
def test_several_calls_at_once(call: Call, threads: Callable[[int], None]) -> None:
    matrices = [shapes.gaussian((order + 20, order)) for order in (520, 577, 700)]
    threads(1)
    expected = [call(matrix) for matrix in matrices]
    threads(3)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, matrices * 3)) == expected * 3


def in_child(call: Call, matrix: Any, expected: bytes) -> None:
    os._exit(0 if call(matrix) == expected else 7)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("call", CALLS)
def test_fork_after_use(call: Call, threads: Callable[[int], None]) -> None:
    threads(3)
    matrix = shapes.gaussian((600, 577))
    expected = call(matrix)
    child = multiprocessing.get_context("fork").Process(target=in_child, args=(call, matrix, expected))
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
        pytest.fail("the forked child hangs")
    assert child.exitcode == 0
    assert call(matrix) == expected
