"""All competitors of a kernel family in turn on the same inputs."""

from __future__ import annotations

import contextlib
import tempfile
import time
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
_SEEDS = 5
# For a projection of the time before anything was timed: what a competitor, or the reference, usually reaches
# of the yardstick, and what a sample takes beside it.
_USUAL_SHARE = 0.1
_SECONDS_BESIDE = 1.0


def run_bench(
    family: Family,
    cases: Sequence[Case],
    *,
    seeds: int | None = None,
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
        seeds: inputs of the family's first kind per case, None for as many as the case says, else 5; the
            other kinds have one each.
        rivals: some of the family's, None for those of each case; one whose package is missing is left out
            and named in `absent`.
        tries: how often a sample is taken while other processes disturb it; the last one is kept and marked.
            After ten minutes of thrown away samples each is taken once.
        quick: measure the machine's own rates in a moment.
        source: a checkout whose commit goes into the fingerprint.
        progress: told before each sample what comes and how long the rest may take, how many samples are done
            and how many there are.

    Raises:
        BenchmarkError: a competitor failed, or an answer, ours or another's, is wrong.
    """
    planned = [_Planned(family, case, seeds, rivals) for case in cases]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lmscope-bench-"))
        oracle = stack.enter_context(WorkerProcess(family.name, ORACLE))
        workers, libraries, absent = {}, {}, {}
        for name in dict.fromkeys(name for one in planned for name in one.names):
            worker = stack.enter_context(WorkerProcess(family.name, name))
            try:
                libraries[name] = worker.ask("describe")
                workers[name] = worker
            except MissingCompetitor as error:
                absent[name] = str(error)
        turns = _Turns(folder, oracle, workers, tries, progress, planned)
        turns.warm_up()
        rates = turns.rates(quick=quick)
        turns.project(rates)
        rounds = []
        for one in planned:
            rounds.append(tuple(turns.round(one, kind, seed) for kind, seed in one.inputs))
            # Again after each case: a machine that was busy for a moment shall not flatter the shares.
            rates = {name: max(rate, rates[name]) for name, rate in turns.rates(quick=quick).items()}
    isa = libraries[OURS]["isa"]
    results = tuple(
        CaseResult(family, case, found, rates[family.yardstick(case)], isa)
        for case, found in zip(cases, rounds, strict=True)
    )
    return Bench(family, results, rates, fingerprint(libraries, source=source), absent)


class _Planned:
    """A case, who takes part in it, and its inputs as kind and seed."""

    def __init__(self, family: Family, case: Case, seeds: int | None, rivals: Sequence[str] | None) -> None:
        rivals = case.rivals or family.usual_rivals(case) if rivals is None else rivals
        self.case = case
        self.names = (OURS, *rivals)
        self.inputs = [(family.kinds[0], seed) for seed in range(seeds or case.seeds or _SEEDS)]
        self.inputs += [(kind, 0) for kind in family.kinds[1:]]
        self._operations, self._yardstick = family.operations(case), family.yardstick(case)

    def seconds(self, rates: dict[str, float]) -> float:
        """What one input usually takes on a machine of these rates."""
        each = self._operations / (_USUAL_SHARE * rates[self._yardstick]) + _SECONDS_BESIDE
        return (1 + len(self.names)) * each


class _Turns:
    def __init__(
        self,
        folder: str,
        oracle: WorkerProcess,
        workers: dict[str, WorkerProcess],
        tries: int,
        progress: Callable[[str, int, int], None],
        planned: Sequence[_Planned],
    ) -> None:
        self._inputs = f"{folder}/inputs.npz"
        self._answer = f"{folder}/answer.npz"
        self._oracle = oracle
        self._workers = workers
        self._tries = tries
        self._progress = progress
        self._planned = planned
        self._done = 0
        self._total = sum(len(one.inputs) * sum(name in workers for name in one.names) for one in planned)
        self._thrown_away = 0.0
        self._rates: dict[str, float] = {}
        self._projected, self._projected_done, self._seconds_done = 0.0, 0.0, 0.0

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

    def project(self, rates: dict[str, float]) -> None:
        """Projects the time of all rounds."""
        self._rates = rates
        self._projected = sum(len(one.inputs) * one.seconds(rates) for one in self._planned)

    def _left(self) -> str:
        """How long the rest may take, by what the rounds so far took of what was projected for them."""
        pace = self._seconds_done / self._projected_done if self._projected_done else 1.0
        minutes = pace * (self._projected - self._projected_done) / 60
        return f"; about {minutes:.0f} min left" if minutes >= 1 else ""

    def _make(self, case: Case, kind: str, seed: int) -> None:
        self._oracle.ask("make", case=asdict(case), kind=kind, seed=seed, path=self._inputs)

    def round(self, planned: _Planned, kind: str, seed: int) -> Round:
        """All of a case on one input."""
        started = time.monotonic()
        found = self._round(
            planned.case, [name for name in planned.names if name in self._workers], kind, seed
        )
        self._projected_done += planned.seconds(self._rates)
        self._seconds_done += time.monotonic() - started
        return found

    def _round(self, case: Case, names: Sequence[str], kind: str, seed: int) -> Round:
        where = f"{case.name} {kind} {seed}"
        left = self._left()

        def tell(what: str) -> None:
            self._progress(f"{where}: {what}{left}", self._done, self._total)

        tell("the input and what is right")
        self._make(case, kind, seed)
        # Another one begins each time, so that no competitor always follows the same one.
        names = [*names[seed % len(names) :], *names[: seed % len(names)]]
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
