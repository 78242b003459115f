"""Gumbel distribution of largest values: fit by maximum likelihood, and how far data lie from the fit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

__all__ = ["Gumbel", "fit_gumbel"]

# Spread, relative to the largest value, below which all values count as equal.
_EQUAL = 1e-12


class Gumbel(NamedTuple):
    """``location`` is the mode, ``scale`` 0 where all values are equal; ``distance`` is Kolmogorov's to the
    data."""

    location: float
    scale: float
    distance: float


def fit_gumbel(values: npt.ArrayLike) -> Gumbel:
    """Maximum-likelihood fit of the Gumbel law of maxima, density ``exp(-z - exp(-z)) / scale``, ``z = (x -
    location) / scale``.

    Args:
        values: 1-D, finite, at least one.

    The scale solves ``b = mean(x) - sum(x exp(-x / b)) / sum(exp(-x / b))``; then ``location = -b log mean
    exp(-x / b)``. Values that differ by less than 1e-12 of the largest have the location of the first and
    scale 0.

    Raises:
        ValueError: no values, more dimensions, or one that is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"values must be one-dimensional and not empty, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("values must be finite")
    smallest, largest = float(x.min()), float(x.max())
    spread = largest - smallest
    if spread <= _EQUAL * max(abs(smallest), abs(largest)):
        return Gumbel(float(x[0]), 0.0, 0.0)
    # In units of the spread, from the smallest value: exponents stay at or below 0.
    unit = (x - smallest) / spread
    mean = float(unit.mean())

    def excess(scale: float) -> float:
        weights = np.exp(-unit / scale)
        return scale - mean + float(unit @ weights / weights.sum())

    # Above the mean it is positive. Towards 0 the weights leave only the smallest values, and it tends to
    # minus the mean.
    lower = mean
    while excess(lower) > 0:
        lower /= 2
    scale = float(optimize.brentq(excess, lower, 2 * lower if lower < mean else mean, xtol=1e-14, rtol=1e-14))
    location = -scale * float(special.logsumexp(-unit / scale) - math.log(x.size))
    ordered = np.sort(unit)
    below = np.exp(-np.exp(-(ordered - location) / scale))
    steps = np.arange(x.size + 1) / x.size
    distance = float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))
    return Gumbel(smallest + spread * location, spread * scale, distance)
