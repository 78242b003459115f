"""`prefix_lasso` and `lasso` beside scikit-learn, celer and skglm, at equal duality gaps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Verdict
from lmscope.runs.benchmarks.lasso import competitors
from lmscope.runs.benchmarks.lasso.problems import TOLERANCE, problems_of, with_duals
from lmscope.runs.benchmarks.results import CaseResult

_RATIO = 0.05
# Of the tokens and columns that lean on their neighbours.
_KEPT = 0.6


class LassoFamily(Family):
    name = "lasso"
    rivals = ("scikit-learn", "celer", "skglm")
    kinds = ("correlated", "independent")
    input = (
        "float64. prefixes: every row of a tokens x dimensions matrix on the rows before it; the competitors "
        "run in a loop, scikit-learn is given the Gram matrix of every prefix beforehand. single: "
        "one target on a samples x features matrix, column-major. The competitors get alpha beforehand, "
        "and the loosest tolerance, up to 1000 times ours, at which all of their duality gaps, computed here "
        "from their coefficients with a common dual point, are within the limit; ours computes "
        "Gram matrix and alpha_max inside its time. Ours runs on its threads, the competitors' "
        "loops on one"
    )
    formula = "prefixes: N^2 M operations, the Gram matrix; single: 2 N M, one product with the matrix"
    error = f"largest duality gap over ||y||^2 / samples, limit {TOLERANCE:g}"
    yardsticks: ClassVar = {"float32_peak": "float32 peak"}

    def operations(self, case: Case) -> float:
        return float(case.rows) * case.columns * (case.rows if _prefixes(case) else 2)

    def yardstick(self, case: Case) -> str:
        return "float32_peak"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        """Tokens: unit rows about a common direction, "correlated" ones also like their neighbours. Single: a
        truth of a hundred features in noise, "correlated" features like their neighbours."""
        rng = np.random.default_rng([seed, case.rows, case.columns])
        ratio = case.options.get("alpha_ratio", _RATIO)
        if kind == "independent":
            ratio = case.options.get("independent_alpha_ratio", ratio)
        kept = _KEPT if kind == "correlated" else 0.0
        noise = rng.standard_normal((case.rows, case.columns))
        if _prefixes(case):
            for row in range(1, case.rows):
                noise[row] = kept * noise[row - 1] + np.sqrt(1 - kept**2) * noise[row]
            tokens = noise + rng.standard_normal(case.columns)
            inputs = {"tokens": tokens / np.linalg.norm(tokens, axis=1, keepdims=True)}
            return with_duals({**inputs, "alpha_ratio": np.array(ratio)}, ratio)
        for column in range(1, case.columns):
            noise[:, column] = kept * noise[:, column - 1] + np.sqrt(1 - kept**2) * noise[:, column]
        chosen = rng.permutation(case.columns)[:100]
        signal = noise[:, chosen] @ rng.standard_normal(len(chosen))
        y = signal + 0.3 * signal.std() * rng.standard_normal(case.rows)
        return with_duals({"x": np.asfortranarray(noise), "y": y, "alpha_ratio": np.array(ratio)}, ratio)

    def reference(self, inputs: Arrays) -> Arrays:
        return inputs

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        """Every gap, computed here, within the limit; ours also bounds it."""
        problems = problems_of(reference)
        offsets = np.cumsum([0, *(problem.x.shape[1] for problem in problems)])
        coefs = [found["coef"][first:last] for first, last in itertools.pairwise(offsets)]
        gaps = np.array([problem.gap(coef) for problem, coef in zip(problems, coefs, strict=True)])
        wrong = None
        if not gaps.max() <= TOLERANCE:
            wrong = f"a gap of {gaps.max():.3g} of ||y||^2 / samples, more than {TOLERANCE:g}"
        elif competitor == OURS and not (gaps <= found["gap"] + 1e-9).all():
            wrong = "a gap above its bound"
        nonzeros = float(np.mean([np.count_nonzero(coef) for coef in coefs]))
        return Verdict(
            float(gaps.max()), wrong, {"mean_nonzeros": nonzeros, "problems": float(len(problems))}
        )

    def remarks(self, result: CaseResult) -> Iterator[str]:
        for one in result.rounds:
            yield (
                f"{one.kind} {one.seed}: {one.details['problems']:.0f} problems, "
                f"{one.details['mean_nonzeros']:.1f} non-zeros each"
            )


def _prefixes(case: Case) -> bool:
    return case.options.get("problem") == "prefixes"
