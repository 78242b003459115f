"""The Lasso problems that an input stands for, and how far a solution may be from the optimum."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope.reference import lasso as reference
from lmscope.runs.benchmarks.family import Arrays

# A duality gap may be this share of ||y||^2 / samples.
TOLERANCE = 1e-6

Floats = npt.NDArray[np.float64]


class Problem(NamedTuple):
    """One design, column-major, its target and its penalty."""

    x: Floats
    y: Floats
    alpha: float

    def gap(self, coef: Floats) -> float:
        """The duality gap over ``||y||^2 / samples``."""
        scale = float(self.y @ self.y) / len(self.y)
        return reference.gap(self.x, self.y, coef, self.alpha) / scale


def problems_of(inputs: Arrays) -> list[Problem]:
    """Each with its own alpha_max times the input's ratio."""
    if "tokens" in inputs:
        pairs = [(x, y) for _, x, y in reference.prefixes(inputs["tokens"])]
    else:
        pairs = [(np.asfortranarray(inputs["x"]), inputs["y"])]
    ratio = float(inputs["alpha_ratio"])
    return [Problem(x, y, ratio * reference.alpha_max(x, y)) for x, y in pairs]
