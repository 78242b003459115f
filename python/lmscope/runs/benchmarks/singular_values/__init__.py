"""`singular_values` beside torch, numpy and scipy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.results import CaseResult
from lmscope.runs.benchmarks.singular_values import competitors, matrices
from lmscope.runs.benchmarks.singular_values.oracle import accurate_values

_ERROR_TARGET = ("torch float32", 100.0)
# What a right answer may differ by, as a share of the largest value; a wrong one is off by far more.
_TOLERANCE = {"torch float32": 1e-4}
_FLOAT64_TOLERANCE = 1e-11


class SingularValuesFamily(Family):
    name = "singular_values"
    rivals = ("torch float64", "torch float32", "numpy", "scipy")
    kinds = ("gaussian", "trained-like")
    input = "bfloat16; competitors convert inside their time"
    formula = "N M^2 + 4/3 M^3 operations, N the longer and M the shorter side, the same for all"
    error = "largest of the sampled values, over the largest value"
    yardsticks: ClassVar = {"gemm": "dgemm"}

    def operations(self, case: Case) -> float:
        """Gram matrix of the shorter side and its tridiagonal reduction; the competitors do more."""
        longer, shorter = max(case.rows, case.columns), min(case.rows, case.columns)
        return float(longer) * shorter**2 + 4.0 / 3.0 * shorter**3

    def yardstick(self, case: Case) -> str:
        return "gemm"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        maker = matrices.trained_like if kind == "trained-like" else matrices.gaussian
        return {"matrix": maker(case.rows, case.columns, seed)}

    def reference(self, inputs: Arrays) -> Arrays:
        indices, values, uncertainties = accurate_values(inputs["matrix"])
        return {"indices": indices, "values": values, "uncertainties": uncertainties}

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        """Sampled values: ours within their bounds, the others within a share of the largest."""
        indices, uncertainty = reference["indices"], reference["uncertainties"]
        off = np.abs(found["values"][indices] - reference["values"])
        largest = reference["values"][0]
        problem = None
        if competitor == OURS:
            bounds = found["bounds"][indices]
            worst = int(np.argmax(off - bounds - uncertainty))
            if not off[worst] <= bounds[worst] + uncertainty[worst]:
                index, bound = indices[worst], bounds[worst]
                problem = f"value {index} is off by {off[worst]:.3g}, more than its bound {bound:.3g}"
        else:
            tolerance = _TOLERANCE.get(competitor, _FLOAT64_TOLERANCE) * largest
            if not off.max() <= tolerance:
                problem = f"off by {off.max():.3g}, more than {tolerance:.3g}"
        details = {
            "smallest_over_largest": float(found["values"][-1] / largest),
            "reference_uncertainty": float(uncertainty.max() / largest),
        }
        return Verdict(float(off.max() / largest), problem, details)

    def aims(self, result: CaseResult) -> list[Target]:
        rival, wanted = _ERROR_TARGET
        if not result.case.targets or not result.samples(rival):
            return []
        smaller = result.error(rival) / result.error(OURS)
        return [Target(f"times smaller largest error than {rival}", wanted, smaller)]

    def remarks(self, result: CaseResult) -> Iterator[str]:
        for one in result.rounds:
            words = one.measured[OURS].sample.words
            smallest = f"smallest value {one.details['smallest_over_largest']:.1e} of the largest"
            yield f"{one.kind} {one.seed}: method {words['method']}, {words['refined']} refined, {smallest}"
