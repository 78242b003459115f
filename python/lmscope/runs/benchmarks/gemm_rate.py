"""The rate of float64 matrix products, a yardstick."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_RATE_TRIES = 4


def gemm_order(quick: bool) -> int:
    return 1024 if quick else 3072


def gemm_rate(multiply: Callable[[], Any], quick: bool) -> dict[str, float]:
    """Best of a few float64 products of square matrices, operations per second."""
    multiply()
    best = float("inf")
    for _ in range(_RATE_TRIES):
        started = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - started)
    return {"gemm": 2.0 * gemm_order(quick) ** 3 / best}
