"""Matrix products whose bits do not depend on the number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.kernels.runtime import get_num_threads

__all__ = ["multiply", "one_blas_thread"]

Floats = npt.NDArray[np.float64]

_ROWS = 128
"""Rows of a product that one call of the BLAS makes, whatever the number of threads."""
_WORTH_THREADS = 2**25
"""Multiplications from which on threads gain more than it takes to start them."""


class _Limit:
    """numpy's BLAS at one thread while anyone is inside; the first finds its libraries."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._libraries: Any = None
        self._before: Any = None

    def enter(self) -> None:
        from threadpoolctl import ThreadpoolController

        with self._lock:
            if self._inside == 0:
                self._libraries = self._libraries or ThreadpoolController()
                self._before = self._libraries.limit(limits=1, user_api="blas")
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.restore_original_limits()


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """For the whole process; as it was before once the last caller has left."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


def multiply(left: Floats, right: Floats, out: Floats) -> None:
    """``out = left @ right``, inside :func:`one_blas_thread`; large ones on as many threads as the kernels
    have."""

    def rows(start: int) -> None:
        part = slice(start, start + _ROWS)
        np.matmul(left[part], right, out=out[part])

    starts = range(0, len(left), _ROWS)
    threads = min(get_num_threads(), len(starts))
    if threads == 1 or left.size * right.shape[1] < _WORTH_THREADS:
        for start in starts:
            rows(start)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="lmscope-product") as pool:
        list(pool.map(rows, starts))
