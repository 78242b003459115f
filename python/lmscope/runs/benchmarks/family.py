"""What a kernel family tells the bench about itself; `families` lists them."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy.typing as npt

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    from lmscope.runs.benchmarks.results import CaseResult

OURS = "lmscope"
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """One shape and what is asked of it.

    Attributes:
        rows: of the family's matrix.
        columns: of the family's matrix.
        targets: by rival, how many times as fast as it ours is to be.
        shares: by instruction set level, the share of the yardstick that ours is to reach there.
        options: the family's own, such as a dtype.
        rivals: the only ones that run, where others would take minutes; None for `Family.usual_rivals`.
        seeds: how many inputs of the first kind, None for as many as other cases have.
    """

    rows: int
    columns: int
    targets: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    rivals: Sequence[str] | None = None
    seeds: int | None = None

    @property
    def name(self) -> str:
        words = (
            f"{name} {value}" if isinstance(value, int) else str(value)
            for name, value in self.options.items()
        )
        return " ".join([f"{self.rows}x{self.columns}", *words])


class Answer(NamedTuple):
    """What a competitor found, and words beside it that go into the record."""

    arrays: Arrays
    words: dict[str, Any]


class Competitor(NamedTuple):
    """What a worker calls.

    Attributes:
        take: turns the inputs into what its users hold; not timed.
        compute: timed.
        describe: versions and settings.
        rates: measures those of the family's yardsticks that this one knows, operations per second; the
            argument asks for a quick look.
        answer: turns what `compute` gave into an answer; not timed.
    """

    take: Callable[[Arrays], Any]
    compute: Callable[[Any], Any]
    describe: Callable[[], dict[str, Any]]
    rates: Callable[[bool], dict[str, float]] = lambda quick: {}
    answer: Callable[[Any], Answer] = lambda found: found


class Verdict(NamedTuple):
    """Of one answer: its error, what is wrong with it, and what goes into the record of the round."""

    error: float
    problem: str | None
    details: dict[str, float]


@dataclass(frozen=True)
class Target:
    """One aim: what, at least how much (at most, where `most`), and how much it is."""

    what: str
    wanted: float
    found: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.most else self.found >= self.wanted


class Family(ABC):
    """A kernel family on the bench: one folder beside this file, its shapes in shapes.toml.

    Attributes:
        name: as in csrc and lmscope.kernels.
        rivals: competitors beside OURS, other ways of ours among them, in the order of tables.
        kinds: of input; the first is made with every seed, the others once.
        input: what all competitors are given, a sentence for the record.
        formula: of the operations, for the reader of a rate.
        error: what the column of errors holds.
        yardsticks: rates of the machine that ours is measured by: name in the record, title in the table.
    """

    name: ClassVar[str]
    rivals: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[str, ...]]
    input: ClassVar[str]
    formula: ClassVar[str]
    error: ClassVar[str]
    yardsticks: ClassVar[dict[str, str]]

    @abstractmethod
    def operations(self, case: Case) -> float:
        """The same count for all, so that rates compare."""

    @abstractmethod
    def yardstick(self, case: Case) -> str:
        """Which of the yardsticks the rates of this case are shares of."""

    @abstractmethod
    def competitor(self, name: str) -> Competitor:
        """Runs in the competitor's process; ImportError where its package is missing."""

    @abstractmethod
    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        """Inputs; runs in a process of its own, like `reference` and `check`."""

    @abstractmethod
    def reference(self, inputs: Arrays) -> Arrays:
        """What `check` compares with."""

    @abstractmethod
    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        """The error of an answer, and whether it is wrong."""

    def usual_rivals(self, case: Case) -> Sequence[str]:
        """Those that run where the case names none."""
        return self.rivals

    def ours(self, result: CaseResult) -> str:
        """The name of ours in the table, with what its user would want to know there."""
        return OURS

    def aims(self, result: CaseResult) -> list[Target]:
        """Aims other than ratios of times."""
        return []

    def remarks(self, result: CaseResult) -> Iterator[str]:
        """Lines under the table."""
        return iter(())

    def cases(self, which: str) -> list[Case]:
        """Cases of shapes.toml: "full" or "quick"."""
        text = (files("lmscope.runs.benchmarks") / "shapes.toml").read_text(encoding="utf-8")
        return [
            Case(*entry["shape"], **{name: entry[name] for name in entry if name != "shape"})
            for entry in tomllib.loads(text)[self.name][which]
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
