"""`singular_values`, and `singular_vectors` where a case asks for them, beside torch, numpy and scipy."""

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
        matrix = {"matrix": maker(case.rows, case.columns, seed)}
        # What is asked for travels with the input.
        return {**matrix, "vectors": np.array(1)} if case.options.get("part") == "vectors" else matrix

    def reference(self, inputs: Arrays) -> Arrays:
        indices, values, uncertainties = accurate_values(inputs["matrix"])
        found = {"indices": indices, "values": values, "uncertainties": uncertainties}
        return {**found, "matrix": inputs["matrix"]} if "vectors" in inputs else found

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        """Sampled values: ours within their bounds, the others within a share of the largest; of vectors,
        residuals and inner products too.
        """
        if "matrix" in reference:
            return _check_vectors(competitor, found, reference)
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
            refined = f", {words['refined']} refined" if "refined" in words else ""
            yield f"{one.kind} {one.seed}: method {words['method']}{refined}, {smallest}"


def _check_vectors(competitor: str, found: Arrays, reference: Arrays) -> Verdict:
    """The error is the largest of values off, residuals (both over the largest value) and inner products, as
    float64 products measure them, which round at some 1e-15 themselves.
    """
    largest = reference["values"][0]
    matrix = reference["matrix"].astype(np.float64)
    values, left, right = (found[name].astype(np.float64) for name in ("values", "left", "right"))
    off = np.abs(values[reference["indices"]] - reference["values"]).max()
    missed = matrix @ right - left * values, matrix.T @ left - right * values
    residual = max(float(np.linalg.norm(part, axis=0).max()) for part in missed) / float(largest)
    unit = np.eye(len(values))
    orthogonality = max(float(np.abs(side.T @ side - unit).max()) for side in (left, right))
    error = max(float(off / largest), residual, orthogonality)
    tolerance = _TOLERANCE.get(competitor, _FLOAT64_TOLERANCE)
    problem = None if error <= tolerance else f"vectors are off by {error:.3g}, more than {tolerance:.3g}"
    details = {
        "smallest_over_largest": float(found["values"][-1] / largest),
        "reference_uncertainty": float(reference["uncertainties"].max() / largest),
        "residual": residual,
        "orthogonality": orthogonality,
    }
    return Verdict(error, problem, details)
