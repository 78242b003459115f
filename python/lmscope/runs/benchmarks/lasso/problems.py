"""The Lasso problems that an input stands for, and how far a solution may be from the optimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope.kernels.lasso import lasso
from lmscope.reference import lasso as reference
from lmscope.runs.benchmarks.family import Arrays

# A duality gap may be this share of ||y||^2 / samples.
TOLERANCE = 1e-6
# Of the solutions whose residuals are the dual points of all competitors.
_NEAR = 1e-10

Floats = npt.NDArray[np.float64]


class Problem(NamedTuple):
    """One design, column-major, its target and its penalty; `dual`: the dual objective near its maximum."""

    x: Floats
    y: Floats
    alpha: float
    dual: float

    def gap(self, coef: Floats) -> float:
        """The duality gap over ``||y||^2 / samples``, from the same dual point for all."""
        above = reference.objective(self.x, self.y, coef, self.alpha) - self.dual
        return above * len(self.y) / float(self.y @ self.y)


def with_duals(inputs: Arrays, alpha_ratio: float) -> Arrays:
    """The inputs, each problem's penalty, a share of its alpha_max, and its largest dual objective."""
    alphas, duals = [], []
    for x, y in _pairs(inputs):
        alpha = alpha_ratio * reference.alpha_max(x, y)
        theta = reference.dual_point(x, y, lasso(x, y, alpha=alpha, tol=_NEAR).coef, alpha)
        alphas.append(alpha)
        duals.append((2 * (y @ theta) - theta @ theta) / (2 * len(y)))
    return {**inputs, "alphas": np.array(alphas), "duals": np.array(duals)}


def problems_of(inputs: Arrays) -> list[Problem]:
    """In the order of their coefficients in an answer."""
    more = zip(inputs["alphas"].tolist(), inputs["duals"].tolist(), strict=True)
    return [Problem(x, y, alpha, dual) for (x, y), (alpha, dual) in zip(_pairs(inputs), more, strict=True)]


def _pairs(inputs: Arrays) -> list[tuple[Floats, Floats]]:
    if "tokens" in inputs:
        return [(x, y) for _, x, y in reference.prefixes(inputs["tokens"])]
    return [(np.asfortranarray(inputs["x"]), inputs["y"])]
