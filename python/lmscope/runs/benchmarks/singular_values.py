"""`singular_values` beside torch, numpy and scipy: times, errors, ratios."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from lmscope.runs.benchmarks.fingerprint import fingerprint
from lmscope.runs.benchmarks.turns import (
    BenchmarkError,
    MissingCompetitor,
    Sample,
    WorkerProcess,
    take_sample,
)
from lmscope.runs.errors import UsageError

OURS = "lmscope"
RIVALS = ("torch float64", "torch float32", "numpy", "scipy")
ERROR_TARGET = ("torch float32", 100.0)
_THROW_AWAY_SECONDS = 600.0
# What a right answer may differ by, as a share of the largest value; a wrong one is off by far more.
_TOLERANCE = {"torch float32": 1e-4}
_FLOAT64_TOLERANCE = 1e-11


@dataclass(frozen=True)
class Case:
    """One shape and what is asked of it: `targets[rival]` is how many times as fast as that rival."""

    rows: int
    columns: int
    targets: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def nominal_operations(self) -> float:
        """N M^2 + 4/3 M^3, N the longer side: Gram matrix of the shorter side and its tridiagonal reduction.

        The same count for all, so that rates compare; the competitors do more.
        """
        longer, shorter = max(self.rows, self.columns), min(self.rows, self.columns)
        return float(longer) * shorter**2 + 4.0 / 3.0 * shorter**3


@dataclass(frozen=True)
class Measured:
    """One competitor on one matrix: its sample, and its largest error over the sampled indices.

    The error is a share of the largest singular value.
    """

    sample: Sample
    error: float


@dataclass(frozen=True)
class Round:
    """One matrix, all competitors in turn.

    Attributes:
        kind: "gaussian" or "trained-like".
        seed: of the matrix.
        measured: by competitor.
        smallest_over_largest: of the singular values.
        reference_uncertainty: largest, as a share of the largest value.
    """

    kind: str
    seed: int
    measured: dict[str, Measured]
    smallest_over_largest: float
    reference_uncertainty: float


@dataclass(frozen=True)
class CaseResult:
    case: Case
    rounds: tuple[Round, ...]

    def samples(self, competitor: str) -> list[Sample]:
        return [one.measured[competitor].sample for one in self.rounds if competitor in one.measured]

    def competitors(self) -> list[str]:
        return [name for name in (OURS, *RIVALS) if self.samples(name)]

    def seconds(self, competitor: str) -> float:
        """Median of the undisturbed samples, of all where every one is disturbed."""
        samples = self.samples(competitor)
        return statistics.median(one.seconds for one in _quiet(samples) or samples)

    def ratios(self, rival: str) -> list[float]:
        """Rival's seconds over ours, matrix by matrix; undisturbed pairs only, where there are any."""
        pairs = [
            (one.measured[rival].sample, one.measured[OURS].sample)
            for one in self.rounds
            if rival in one.measured
        ]
        quiet = [pair for pair in pairs if len(_quiet(pair)) == len(pair)]
        return [theirs.seconds / ours.seconds for theirs, ours in quiet or pairs]

    def error(self, competitor: str) -> float:
        return max(one.measured[competitor].error for one in self.rounds if competitor in one.measured)

    def disturbed(self, competitor: str) -> int:
        samples = self.samples(competitor)
        return len(samples) - len(_quiet(samples))

    def rate(self, competitor: str) -> float:
        """Nominal operations per second."""
        return self.case.nominal_operations / self.seconds(competitor)


def _quiet(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if not sample.disturbed]


@dataclass(frozen=True)
class Bench:
    """All cases on this machine; `gemm_rate`: operations per second of the best float64 matrix product."""

    results: tuple[CaseResult, ...]
    gemm_rate: float
    machine: dict[str, Any]
    absent: dict[str, str]


def cases_from_file(which: str) -> list[Case]:
    """Cases of shapes.toml: "full" or "quick"."""
    text = (files("lmscope.runs.benchmarks") / "shapes.toml").read_text(encoding="utf-8")
    return [
        Case(entry["shape"][0], entry["shape"][1], entry.get("targets", {}))
        for entry in tomllib.loads(text)["singular_values"][which]
    ]


def cases_of(shapes: Sequence[str]) -> list[Case]:
    """Cases from words such as ``4096x1024``; UsageError for others."""
    cases = []
    for shape in shapes:
        sides = shape.lower().split("x")
        if len(sides) != 2 or not all(side.isdecimal() and int(side) >= 1 for side in sides):
            raise UsageError(f"--shape takes ROWSxCOLUMNS, such as 4096x1024, got {shape!r}")
        cases.append(Case(int(sides[0]), int(sides[1])))
    return cases


def bench_singular_values(
    cases: Sequence[Case],
    *,
    seeds: int = 5,
    rivals: Sequence[str] = RIVALS,
    tries: int = 4,
    gemm_order: int = 3072,
    source: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Bench:
    """Time all cases: `seeds` Gaussian matrices and one trained-like one each.

    Args:
        cases: shapes.
        seeds: Gaussian matrices per case.
        rivals: some of RIVALS; one whose package is missing is left out and named in `absent`.
        tries: how often a sample is taken while other processes disturb it; the last one is kept and marked.
            After ten minutes of thrown away samples each is taken once.
        gemm_order: of the square float64 product that gives the machine's rate.
        source: a checkout whose commit goes into the fingerprint.
        progress: told before each sample what comes, how many samples are done and how many there are.

    Raises:
        BenchmarkError: a competitor failed, or an answer, ours or another's, is wrong.
    """
    total = len(cases) * (seeds + 1) * (1 + len(rivals))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lmscope-bench-"))
        oracle = stack.enter_context(WorkerProcess("oracle"))
        workers, libraries, absent = {}, {}, {}
        for name in (OURS, *rivals):
            worker = stack.enter_context(WorkerProcess(name))
            try:
                libraries[name] = worker.ask("describe")
                workers[name] = worker
            except MissingCompetitor as error:
                absent[name] = str(error)
        bench = _Bench(folder, oracle, workers, tries, progress, total)
        bench.warm_up()
        gemm_rate = max(worker.ask("gemm", order=gemm_order)["rate"] for worker in workers.values())
        results = tuple(bench.case(case, seeds) for case in cases)
    return Bench(results, gemm_rate, fingerprint(libraries, source=source), absent)


class _Bench:
    def __init__(
        self,
        folder: str,
        oracle: WorkerProcess,
        workers: dict[str, WorkerProcess],
        tries: int,
        progress: Callable[[str, int, int], None],
        total: int,
    ) -> None:
        self._matrix = f"{folder}/matrix.npy"
        self._reference = f"{folder}/reference.npz"
        self._answer = f"{folder}/answer"
        self._oracle = oracle
        self._workers = workers
        self._tries = tries
        self._progress = progress
        self._done, self._total = 0, total
        self._thrown_away = 0.0

    def warm_up(self) -> None:
        """First calls pay for loading and thread pools."""
        self._oracle.ask("make", kind="gaussian", rows=300, columns=200, seed=0, path=self._matrix)
        for worker in self._workers.values():
            worker.ask("load", path=self._matrix)
            worker.ask("time", save=self._answer)

    def case(self, case: Case, seeds: int) -> CaseResult:
        matrices = [("gaussian", seed) for seed in range(seeds)] + [("trained-like", 0)]
        return CaseResult(case, tuple(self._round(case, kind, seed) for kind, seed in matrices))

    def _round(self, case: Case, kind: str, seed: int) -> Round:
        def tell(what: str) -> None:
            self._progress(f"{case.name} {kind} {seed}: {what}", self._done, self._total)

        tell("making the matrix")
        self._oracle.ask(
            "make", kind=kind, rows=case.rows, columns=case.columns, seed=seed, path=self._matrix
        )
        tell("reference values")
        self._oracle.ask("values", path=self._matrix, save=self._reference)
        with np.load(self._reference) as found:
            indices, truth, uncertainty = found["indices"], found["values"], found["uncertainties"]
        largest = truth[0]
        # Another one begins each time, so that no competitor always follows the same one.
        names = list(self._workers)
        names = names[seed % len(names) :] + names[: seed % len(names)]
        for name in names:
            self._workers[name].ask("load", path=self._matrix)
        measured = {}
        smallest = 0.0
        for name in names:
            tell(name)
            tries = self._tries if self._thrown_away < _THROW_AWAY_SECONDS else 1
            sample = take_sample(self._workers[name], self._answer, tries=tries)
            self._thrown_away += sum(seconds for seconds, _ in sample.thrown_away)
            self._done += 1
            values = np.load(f"{self._answer}.npy")
            off = np.abs(values[indices] - truth)
            where = f"{name} on {case.name} {kind} {seed}"
            if name == OURS:
                bounds = np.load(f"{self._answer}.bounds.npy")[indices]
                smallest = float(values[-1])
                worst = int(np.argmax(off - bounds - uncertainty))
                if not off[worst] <= bounds[worst] + uncertainty[worst]:
                    raise BenchmarkError(
                        f"{where}: value {indices[worst]} is off by {off[worst]:.3g}, "
                        f"more than its bound {bounds[worst]:.3g}"
                    )
            else:
                tolerance = _TOLERANCE.get(name, _FLOAT64_TOLERANCE) * largest
                if not off.max() <= tolerance:
                    raise BenchmarkError(f"{where}: off by {off.max():.3g}, more than {tolerance:.3g}")
            measured[name] = Measured(sample, float(off.max() / largest))
        return Round(
            kind,
            seed,
            measured,
            smallest_over_largest=smallest / float(largest),
            reference_uncertainty=float(uncertainty.max() / largest),
        )
