"""All competitors of a kernel family in turn on the same inputs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from lmscope.runs.benchmarks.family import OURS, Case, Family
from lmscope.runs.benchmarks.fingerprint import fingerprint
from lmscope.runs.benchmarks.results import Bench, CaseResult, Measured, Round
from lmscope.runs.benchmarks.turns import BenchmarkError, MissingCompetitor, WorkerProcess, take_sample

ORACLE = "oracle"
_THROW_AWAY_SECONDS = 600.0
_WARM_UP = (300, 200)


def run_bench(
    family: Family,
    cases: Sequence[Case],
    *,
    seeds: int = 5,
    rivals: Sequence[str] | None = None,
    tries: int = 4,
    quick: bool = False,
    source: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Bench:
    """Time all cases of a family.

    Args:
        family: of `families`.
        cases: shapes.
        seeds: inputs of the family's first kind per case; the other kinds have one each.
        rivals: some of the family's, None for all; one whose package is missing is left out and named in
            `absent`.
        tries: how often a sample is taken while other processes disturb it; the last one is kept and marked.
            After ten minutes of thrown away samples each is taken once.
        quick: measure the machine's own rates in a moment.
        source: a checkout whose commit goes into the fingerprint.
        progress: told before each sample what comes, how many samples are done and how many there are.

    Raises:
        BenchmarkError: a competitor failed, or an answer, ours or another's, is wrong.
    """
    rivals = family.rivals if rivals is None else rivals
    total = len(cases) * (seeds + len(family.kinds) - 1) * (1 + len(rivals))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lmscope-bench-"))
        oracle = stack.enter_context(WorkerProcess(family.name, ORACLE))
        workers, libraries, absent = {}, {}, {}
        for name in (OURS, *rivals):
            worker = stack.enter_context(WorkerProcess(family.name, name))
            try:
                libraries[name] = worker.ask("describe")
                workers[name] = worker
            except MissingCompetitor as error:
                absent[name] = str(error)
        turns = _Turns(folder, oracle, workers, tries, progress, total)
        turns.warm_up()
        inputs = [(family.kinds[0], seed) for seed in range(seeds)]
        inputs += [(kind, 0) for kind in family.kinds[1:]]
        rates = turns.rates(quick=quick)
        rounds = []
        for case in cases:
            rounds.append(tuple(turns.round(case, kind, seed) for kind, seed in inputs))
            # Again after each case: a machine that was busy for a moment shall not flatter the shares.
            rates = {name: max(rate, rates[name]) for name, rate in turns.rates(quick=quick).items()}
    isa = libraries[OURS]["isa"]
    results = tuple(
        CaseResult(family, case, found, rates[family.yardstick(case)], isa)
        for case, found in zip(cases, rounds, strict=True)
    )
    return Bench(family, results, rates, fingerprint(libraries, source=source), absent)


class _Turns:
    def __init__(
        self,
        folder: str,
        oracle: WorkerProcess,
        workers: dict[str, WorkerProcess],
        tries: int,
        progress: Callable[[str, int, int], None],
        total: int,
    ) -> None:
        self._inputs = f"{folder}/inputs.npz"
        self._answer = f"{folder}/answer.npz"
        self._oracle = oracle
        self._workers = workers
        self._tries = tries
        self._progress = progress
        self._done, self._total = 0, total
        self._thrown_away = 0.0

    def warm_up(self) -> None:
        """First calls pay for loading and thread pools."""
        self._make(Case(*_WARM_UP), "", 0)
        for worker in self._workers.values():
            worker.ask("load", path=self._inputs)
            worker.ask("time", save=self._answer)

    def rates(self, *, quick: bool) -> dict[str, float]:
        """By yardstick, the best that any competitor measures."""
        best: dict[str, float] = {}
        for worker in self._workers.values():
            for yardstick, rate in worker.ask("rates", quick=quick)["rates"].items():
                best[yardstick] = max(rate, best.get(yardstick, 0.0))
        return best

    def _make(self, case: Case, kind: str, seed: int) -> None:
        self._oracle.ask("make", case=asdict(case), kind=kind, seed=seed, path=self._inputs)

    def round(self, case: Case, kind: str, seed: int) -> Round:
        where = f"{case.name} {kind} {seed}"

        def tell(what: str) -> None:
            self._progress(f"{where}: {what}", self._done, self._total)

        tell("the input and what is right")
        self._make(case, kind, seed)
        # Another one begins each time, so that no competitor always follows the same one.
        names = list(self._workers)
        names = names[seed % len(names) :] + names[: seed % len(names)]
        for name in names:
            tell(f"{name} takes the input")
            self._workers[name].ask("load", path=self._inputs)
        measured: dict[str, Measured] = {}
        details: dict[str, float] = {}
        for name in names:
            tell(name)
            tries = self._tries if self._thrown_away < _THROW_AWAY_SECONDS else 1
            sample = take_sample(self._workers[name], self._answer, tries=tries)
            self._thrown_away += sum(seconds for seconds, _ in sample.thrown_away)
            self._done += 1
            verdict = self._oracle.ask("check", competitor=name, path=self._answer)
            if verdict["problem"] is not None:
                raise BenchmarkError(f"{name} on {where}: {verdict['problem']}")
            measured[name] = Measured(sample, verdict["error"])
            if name == OURS:
                details = verdict["details"]
        return Round(kind, seed, measured, details)
