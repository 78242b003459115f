"""One competitor in a process of its own: reads JSON requests from stdin, answers on stdout, one line each.

Run as ``python -m lmscope.runs.benchmarks.worker NAME``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

import numpy as np

from lmscope.runs.benchmarks import matrices
from lmscope.runs.benchmarks.cpu_time import busy_seconds
from lmscope.runs.benchmarks.oracle import Oracle

_GEMM_TRIES = 4


class Worker:
    """A competitor and the matrix it holds."""

    def __init__(self, name: str) -> None:
        from lmscope.runs.benchmarks.competitors import COMPETITORS

        self._competitor = COMPETITORS[name]()
        self._matrix: Any = None

    def describe(self) -> dict[str, Any]:
        return self._competitor.describe()

    def load(self, path: str) -> dict[str, Any]:
        self._matrix = self._competitor.take(matrices.load(path))
        return {}

    def time(self, save: str) -> dict[str, Any]:
        """One timed call; the values go to `save`.npy, other arrays to `save`.NAME.npy."""
        gc.collect()
        busy, own = busy_seconds(), time.process_time()
        started = time.perf_counter()
        answer = self._competitor.compute(self._matrix)
        wall = time.perf_counter() - started
        own, busy = time.process_time() - own, busy_seconds() - busy
        np.save(f"{save}.npy", answer.values)
        words = {}
        for name, value in answer.extra.items():
            if isinstance(value, np.ndarray):
                np.save(f"{save}.{name}.npy", value)
            else:
                words[name] = value
        return {"seconds": wall, "own_cpu_seconds": own, "busy_cpu_seconds": busy, "words": words}

    def gemm(self, order: int) -> dict[str, Any]:
        """Best of a few float64 products, 2 * order**3 operations each, per second; 0 without one."""
        if self._competitor.gemm is None:
            return {"rate": 0.0}
        multiply = self._competitor.gemm(order)
        multiply()
        best = float("inf")
        for _ in range(_GEMM_TRIES):
            started = time.perf_counter()
            multiply()
            best = min(best, time.perf_counter() - started)
        return {"rate": 2.0 * order**3 / best}


def main() -> None:
    name = sys.argv[1]
    # Whatever a library prints goes to stderr; the answers keep the pipe to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    target: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            if target is None:
                target = Oracle() if name == "oracle" else Worker(name)
            answer = getattr(target, do)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "missing": isinstance(error, ImportError)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
