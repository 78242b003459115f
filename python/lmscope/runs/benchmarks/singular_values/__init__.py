"""`singular_values` beside torch, numpy and scipy; where a case asks for it, a part of it or more than it.

The option `part`: "vectors", `singular_vectors`; "streamed", a stream of rows and its result, beside our own
one call; "gram", the stream alone without its result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.results import CaseResult
from lmscope.runs.benchmarks.singular_values import checks, competitors, matrices
from lmscope.runs.benchmarks.singular_values.oracle import accurate_values

_ERROR_TARGET = ("torch float32", 100.0)
_LIBRARIES = ("torch float64", "torch float32", "numpy", "scipy")
_RIVALS = {
    "values": _LIBRARIES,
    "vectors": _LIBRARIES,
    "streamed": (competitors.WHOLE, *_LIBRARIES),
    "gram": ("torch float64", "numpy", "scipy"),
}


class SingularValuesFamily(Family):
    name = "singular_values"
    rivals = (competitors.WHOLE, *_LIBRARIES, competitors.COMPOSITION)
    kinds = ("gaussian", "trained-like")
    input = "bfloat16; competitors convert inside their time"
    formula = "N M^2 + 4/3 M^3 operations, N the longer and M the shorter side, the same for all; gram: N M^2"
    error = (
        "largest of the sampled values, over the largest value; gram: of the sampled entries, over the norms "
        "of their columns"
    )
    yardsticks: ClassVar = {"gemm": "dgemm"}

    def operations(self, case: Case) -> float:
        """Gram matrix of the shorter side and its tridiagonal reduction; the competitors do more."""
        longer, shorter = max(case.rows, case.columns), min(case.rows, case.columns)
        gram = float(longer) * shorter**2
        return gram if _part(case) == "gram" else gram + 4.0 / 3.0 * shorter**3

    def yardstick(self, case: Case) -> str:
        return "gemm"

    def usual_rivals(self, case: Case) -> Sequence[str]:
        return _RIVALS[_part(case)]

    def ours(self, result: CaseResult) -> str:
        methods = sorted({one.words["method"] for one in result.samples(OURS)})
        return f"{OURS}, {'/'.join(methods)}"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        maker = matrices.trained_like if kind == "trained-like" else matrices.gaussian
        # What is asked for travels with the input.
        return {"matrix": maker(case.rows, case.columns, seed), "part": np.array(_part(case))}

    def reference(self, inputs: Arrays) -> Arrays:
        part, matrix = str(inputs["part"]), inputs["matrix"]
        if part == "gram":
            return {"part": inputs["part"], **checks.gram_columns(matrix)}
        indices, values, uncertainties = accurate_values(matrix)
        found = {
            "part": inputs["part"],
            "indices": indices,
            "values": values,
            "uncertainties": uncertainties,
        }
        return {**found, "matrix": matrix} if part == "vectors" else found

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        part = str(reference["part"])
        if part == "gram":
            return checks.check_gram(found, reference)
        return (checks.check_vectors if part == "vectors" else checks.check_values)(
            competitor, found, reference
        )

    def aims(self, result: CaseResult) -> list[Target]:
        rival, wanted = _ERROR_TARGET
        if not result.case.targets or not result.samples(rival):
            return []
        smaller = result.error(rival) / result.error(OURS)
        return [Target(f"times smaller largest error than {rival}", wanted, smaller)]

    def remarks(self, result: CaseResult) -> Iterator[str]:
        if _part(result.case) == "gram":
            return
        for one in result.rounds:
            words = one.measured[OURS].sample.words
            smallest = f"smallest value {one.details['smallest_over_largest']:.1e} of the largest"
            refined = f", {words['refined']} refined" if "refined" in words else ""
            yield f"{one.kind} {one.seed}: method {words['method']}{refined}, {smallest}"


def _part(case: Case) -> str:
    return str(case.options.get("part", "values"))
