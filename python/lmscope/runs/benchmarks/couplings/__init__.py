"""`spin_glass.fields` beside plain numpy on all features at once, from the tasks and from the seed on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.couplings import competitors
from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.memory_aims import extra_memory, speed_and_memory
from lmscope.runs.benchmarks.results import CaseResult

_PROMPT_LENGTH = 100
# Of couplings and fields, relative to the largest.
_TOLERANCE = 1e-12
# Of the memory that the fastest rival takes beyond its input.
_MEMORY_SHARE = 0.1


class CouplingsFamily(Family):
    name = "couplings"
    rivals = tuple(competitors.WHOLE_FEATURES)
    kinds = ("isotropic",)
    input = (
        "contexts, queries and targets of tasks of linear regression in context, prompts of 100 tokens; from "
        "the seed on, their law instead: ours draws some prompts at a time, numpy holds all at once. numpy: "
        "(dimension + 1)^2 features for each task, as the Hamiltonian is written down; without zeros: only "
        "those that enter"
    )
    formula = "tasks x ((dimension + 1) x dimension)^2, products of features, each pair once"
    error = "largest error of a coupling or a field over the largest of them"
    yardsticks: ClassVar = {"gemm": "dgemm"}

    def operations(self, case: Case) -> float:
        dimension = _dimension(case)
        return float(case.rows) * ((dimension + 1) * dimension) ** 2

    def yardstick(self, case: Case) -> str:
        return "gemm"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        sizes = np.array([case.rows, _dimension(case), _PROMPT_LENGTH, seed])
        if case.options.get("from") == "seed":
            return {"sizes": sizes}
        return competitors.whole(competitors.law(sizes).statistics())

    def reference(self, inputs: Arrays) -> Arrays:
        given = inputs
        if "sizes" in inputs:
            given = competitors.whole(competitors.law(inputs["sizes"]).statistics())
        found = competitors.plain(given, zeros=False)
        return {"gram": found["gram"], "field": found["field"]}

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        error = max(
            float(np.abs(found[name] - right).max() / np.abs(right).max())
            for name, right in reference.items()
        )
        problem = None if error <= _TOLERANCE else f"off by {error:.3g}, more than {_TOLERANCE:g}"
        return Verdict(error, problem, {})

    def aims(self, result: CaseResult) -> list[Target]:
        rivals = [name for name in result.competitors() if name != OURS]
        if not rivals:
            return []
        best = min(rivals, key=result.seconds)
        return speed_and_memory(result, best, _MEMORY_SHARE)

    def remarks(self, result: CaseResult) -> Iterator[str]:
        return extra_memory(result)


def _dimension(case: Case) -> int:
    """A case is tasks x spins; spins are (dimension + 1)^2, or as many of them as that many hold."""
    return max(1, math.isqrt(case.columns) - 1)
