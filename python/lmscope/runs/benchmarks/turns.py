"""Worker processes that take turns, and samples that nobody else disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from lmscope.runs.benchmarks.cpu_time import foreign_share

FOREIGN_LIMIT = 0.03
_REST_SECONDS = 0.3  # for the spinning barriers of the process before


class BenchmarkError(RuntimeError):
    """A competitor failed or gave a wrong answer."""


class MissingCompetitor(BenchmarkError):
    """The competitor's package is not installed."""


class WorkerProcess:
    """A `worker` process; requests are answered one after the other."""

    def __init__(self, family: str, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmscope.runs.benchmarks.worker", family, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"{self.name}: its process ended with status {self._process.wait()} in {do}")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            kind = MissingCompetitor if answer["missing"] else BenchmarkError
            raise kind(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Sample:
    """One timed call.

    Attributes:
        seconds: wall time.
        own_cpu_seconds: CPU time of the competitor's process.
        foreign_share: share of the CPUs' time that all other processes took meanwhile.
        disturbed: that share exceeded 3 % in this and every earlier try.
        thrown_away: seconds and foreign share of the tries before this one.
        words: what the competitor said beside its answer.
        extra_bytes: most memory beyond what its process held before, of all tries; None where not known.
    """

    seconds: float
    own_cpu_seconds: float
    foreign_share: float
    disturbed: bool
    thrown_away: tuple[tuple[float, float], ...] = ()
    words: dict[str, Any] = field(default_factory=dict)
    extra_bytes: int | None = None


def take_sample(worker: WorkerProcess, save: str, *, tries: int) -> Sample:
    """Time one call, again (at most `tries` times in all) while others use more than 3 % of the CPUs."""
    cpus = len(os.sched_getaffinity(0))
    thrown_away: list[tuple[float, float]] = []
    extra_bytes: int | None = None
    while True:
        time.sleep(_REST_SECONDS * (1 + len(thrown_away)))
        answer = worker.ask("time", save=save)
        if answer["extra_bytes"] is not None:
            # A second call takes less: the allocator keeps some of the first one's.
            extra_bytes = max(answer["extra_bytes"], extra_bytes or 0)
        seconds = answer["seconds"]
        share = foreign_share(
            seconds=seconds, own=answer["own_cpu_seconds"], busy=answer["busy_cpu_seconds"], cpus=cpus
        )
        disturbed = share > FOREIGN_LIMIT
        if disturbed and len(thrown_away) + 1 < tries:
            thrown_away.append((seconds, share))
            continue
        return Sample(
            seconds,
            answer["own_cpu_seconds"],
            share,
            disturbed,
            tuple(thrown_away),
            answer["words"],
            extra_bytes,
        )
