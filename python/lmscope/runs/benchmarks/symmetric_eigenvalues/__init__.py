"""`symmetric_eigenvalues` beside torch, numpy, scipy and MKL; stacks of small ones beside numpy and torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.results import CaseResult
from lmscope.runs.benchmarks.symmetric_eigenvalues import competitors, matrices
from lmscope.runs.benchmarks.symmetric_eigenvalues.oracle import accurate_eigenvalues

# All of the largest magnitude: what ours aims at, and what a right answer of anybody may be off by.
_ERROR_TARGET = 1e-13
_TOLERANCE = 1e-11
_FASTEST_MKL = "fastest of MKL"


class SymmetricEigenvaluesFamily(Family):
    name = "symmetric_eigenvalues"
    rivals = (*competitors.MKL, "numpy", "scipy", competitors.COMPOSITION)
    kinds = ("gram", "trained-like", "gaussian")
    input = (
        "float64, symmetric to the bit; gram: of Gaussian entries, trained-like: of a matrix with the "
        "spectrum of a trained one, gaussian: entries themselves. Values alone; everybody copies inside the "
        "time, and has all cores"
    )
    formula = "4/3 n^3 operations for each matrix, its tridiagonal reduction, the same for all"
    error = "largest of the sampled values, over the largest magnitude"
    yardsticks: ClassVar = {"gemm": "dgemm"}

    def operations(self, case: Case) -> float:
        return 4.0 / 3.0 * float(_order(case)) ** 3 * int(case.options.get("stack", 1))

    def yardstick(self, case: Case) -> str:
        return "gemm"

    def usual_rivals(self, case: Case) -> Sequence[str]:
        # LAPACK and scipy's own loop know no stacks.
        return ("torch", "numpy") if "stack" in case.options else (*competitors.MKL, "numpy", "scipy")

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        if "stack" not in case.options:
            return {"matrix": matrices.symmetric(_order(case), kind, np.random.default_rng(seed))}
        generators = np.random.default_rng(seed).spawn(case.options["stack"])
        return {"matrix": np.stack([matrices.symmetric(_order(case), kind, one) for one in generators])}

    def reference(self, inputs: Arrays) -> Arrays:
        return accurate_eigenvalues(inputs["matrix"])

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        """Sampled values of sampled matrices: ours within their bounds, all within a share of the largest."""
        sampled = np.ix_(reference["members"], reference["indices"])
        values, shape = found["values"], reference["shape"]
        if values.shape != tuple(shape):
            return Verdict(float("inf"), f"values of shape {values.shape}, not {tuple(shape)}", {})
        values = values.reshape(-1, shape[-1])[sampled]
        off, uncertainty = np.abs(values - reference["values"]), reference["uncertainties"]
        error = float((off / reference["largest"][:, None]).max())
        problem = None if error <= _TOLERANCE else f"off by {error:.3g} of the largest"
        if competitor == OURS:
            bounds = found["bounds"].reshape(-1, shape[-1])[sampled]
            if not (off <= bounds + uncertainty).all():
                worst = np.unravel_index(np.argmax(off - bounds - uncertainty), off.shape)
                problem = f"a value is off by {off[worst]:.3g}, more than its bound {bounds[worst]:.3g}"
        share = float((uncertainty / reference["largest"][:, None]).max())
        return Verdict(error, problem, {"reference_uncertainty": share})

    def aims(self, result: CaseResult) -> list[Target]:
        found = [Target("of the largest value off", _ERROR_TARGET, result.error(OURS), most=True)]
        there = {
            name: statistics.median(result.ratios(name)) for name in competitors.MKL if result.samples(name)
        }
        if _FASTEST_MKL in result.case.targets and there:
            fastest = min(there, key=lambda name: there[name])
            what = f"times as fast as {fastest}, the fastest of {', '.join(there)}"
            found.append(Target(what, result.case.targets[_FASTEST_MKL], there[fastest]))
        if result.isa in result.case.shares:
            found.append(Target("of the dgemm rate", result.case.shares[result.isa], result.share(OURS)))
        return found


def _order(case: Case) -> int:
    """A case is order x order; of another shape, the smaller side."""
    return min(case.rows, case.columns)
