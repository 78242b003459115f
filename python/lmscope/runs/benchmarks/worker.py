"""One competitor in a process of its own: reads JSON requests from stdin, answers on stdout, one line each.

Run as ``python -m lmscope.runs.benchmarks.worker FAMILY NAME``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from lmscope.runs.benchmarks import arrays
from lmscope.runs.benchmarks.cpu_time import busy_seconds
from lmscope.runs.benchmarks.families import FAMILIES
from lmscope.runs.benchmarks.family import Arrays, Case, Family
from lmscope.runs.benchmarks.harness import ORACLE
from lmscope.runs.benchmarks.peak_memory import PeakMemory


class Worker:
    """A competitor and the input it holds."""

    def __init__(self, family: Family, name: str) -> None:
        self._competitor = family.competitor(name)
        self._held: Any = None

    def describe(self) -> dict[str, Any]:
        return self._competitor.describe()

    def load(self, path: str) -> dict[str, Any]:
        self._held = None
        self._held = self._competitor.take(arrays.load(path))
        return {}

    def time(self, save: str) -> dict[str, Any]:
        """One timed call; the answer goes to `save`."""
        gc.collect()
        memory = PeakMemory()
        busy, own = busy_seconds(), time.process_time()
        started = time.perf_counter()
        found = self._competitor.compute(self._held)
        wall = time.perf_counter() - started
        own, busy = time.process_time() - own, busy_seconds() - busy
        extra = memory.extra_bytes()
        answer = self._competitor.answer(found)
        arrays.save(save, answer.arrays)
        return {
            "seconds": wall,
            "own_cpu_seconds": own,
            "busy_cpu_seconds": busy,
            "extra_bytes": extra,
            "words": answer.words,
        }

    def rates(self, quick: bool) -> dict[str, Any]:
        return {"rates": self._competitor.rates(quick)}


class Oracle:
    """Makes the inputs and knows the right answers."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._reference: Arrays = {}

    def make(self, case: dict[str, Any], kind: str, seed: int, path: str) -> dict[str, Any]:
        """Writes the input to `path` and keeps what is right for it."""
        self._reference = {}
        inputs = self._family.make(Case(**case), kind or self._family.kinds[0], seed)
        arrays.save(path, inputs)
        self._reference = self._family.reference(inputs)
        return {}

    def check(self, competitor: str, path: str) -> dict[str, Any]:
        return self._family.check(competitor, arrays.load(path), self._reference)._asdict()


def main() -> None:
    family, name = FAMILIES[sys.argv[1]], sys.argv[2]
    # Whatever a library prints goes to stderr; the answers keep the pipe to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    target: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            if target is None:
                target = Oracle(family) if name == ORACLE else Worker(family, name)
            answer = getattr(target, do)(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}", "missing": isinstance(error, ImportError)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
