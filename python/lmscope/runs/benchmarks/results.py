"""What a bench measured: samples by competitor and input, their medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmscope.runs.benchmarks.family import OURS, Case, Family, Target
from lmscope.runs.benchmarks.turns import Sample


@dataclass(frozen=True)
class Measured:
    """One competitor on one input: its sample, and its error as the family measures it."""

    sample: Sample
    error: float


@dataclass(frozen=True)
class Round:
    """One input, all competitors in turn.

    Attributes:
        kind: of the input.
        seed: of the input.
        measured: by competitor.
        details: what the family says of our answer.
    """

    kind: str
    seed: int
    measured: dict[str, Measured]
    details: dict[str, float]


@dataclass(frozen=True)
class CaseResult:
    """All rounds of one case; `yardstick`: operations per second of the machine, `isa` the level of ours."""

    family: Family
    case: Case
    rounds: tuple[Round, ...]
    yardstick: float
    isa: str

    def samples(self, competitor: str) -> list[Sample]:
        return [one.measured[competitor].sample for one in self.rounds if competitor in one.measured]

    def competitors(self) -> list[str]:
        return [name for name in (OURS, *self.family.rivals) if self.samples(name)]

    def seconds(self, competitor: str) -> float:
        """Median of the undisturbed samples, of all where every one is disturbed."""
        samples = self.samples(competitor)
        return statistics.median(one.seconds for one in _quiet(samples) or samples)

    def ratios(self, rival: str) -> list[float]:
        """Rival's seconds over ours, input by input; undisturbed pairs only, where there are any."""
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

    def extra_bytes(self, competitor: str) -> int | None:
        """Most memory that a call took beyond what its process held before; None where it is not known."""
        known = [one.extra_bytes for one in self.samples(competitor) if one.extra_bytes is not None]
        return max(known, default=None)

    def rate(self, competitor: str) -> float:
        """Nominal operations per second."""
        return self.family.operations(self.case) / self.seconds(competitor)

    def share(self, competitor: str) -> float:
        """`rate` over the yardstick."""
        return self.rate(competitor) / self.yardstick

    def targets(self) -> list[Target]:
        """The aims of the case, for the competitors that were there."""
        ratios = [
            Target(f"times as fast as {rival}", wanted, statistics.median(self.ratios(rival)))
            for rival, wanted in self.case.targets.items()
            if self.samples(rival)
        ]
        return [*ratios, *self.family.aims(self)]


def _quiet(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if not sample.disturbed]


@dataclass(frozen=True)
class Bench:
    """All cases of one family on this machine.

    Attributes:
        family: what was measured.
        results: case by case.
        rates: the machine's, by yardstick, operations per second: the best that any competitor measured.
        machine: `fingerprint`.
        absent: why a competitor was left out, by name.
    """

    family: Family
    results: tuple[CaseResult, ...]
    rates: dict[str, float]
    machine: dict[str, Any]
    absent: dict[str, str]
