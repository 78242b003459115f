"""The standard Marchenko-Pastur law of eigenvalues: of W W^T / D for W k x D with independent entries of
variance 1.

With r = sqrt(ratio) and eigenvalue x = 1 + r^2 - 2 r cos(angle), the angle running over [0, pi], density and
distribution function are smooth in the angle, the square case included:

    dF = (2 / pi) sin(angle)^2 / x d angle
    F  = (angle + a + (r sin(angle) - a) / r^2) / pi,    a = atan2(r sin(angle), 1 - r cos(angle))

(the Fourier series of sin / (1 - 2 r cos + r^2) integrated term by term).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]


def check_ratio(ratio: float) -> float:
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be the smaller side over the larger one, in (0, 1], got {ratio}")
    return math.sqrt(ratio)


def angle_cdf(angle: Floats, ratio: float) -> Floats:
    root = check_ratio(ratio)
    height = root * np.sin(angle)
    a = np.arctan2(height, 1 - root * np.cos(angle))
    result: Floats = (angle + a + (height - a) / ratio) / math.pi
    return result


def eigenvalue(angle: Floats, ratio: float) -> Floats:
    root = check_ratio(ratio)
    # (1 - r)^2 + 4 r sin^2: no cancellation at the lower edge.
    result: Floats = (1 - root) ** 2 + 4 * root * np.sin(angle / 2) ** 2
    return result


def angle_of_singular_value(value: Floats, ratio: float) -> Floats:
    """The angle of singular values in units of scale * sqrt(D); 0 below the support, pi above."""
    root = check_ratio(ratio)
    above_edge = (value - (1 - root)) * (value + (1 - root)) / (4 * root)
    result: Floats = 2 * np.arcsin(np.sqrt(np.clip(above_edge, 0, 1)))
    return result


def eigenvalue_density(value: Floats, ratio: float) -> Floats:
    root = check_ratio(ratio)
    inside = ((1 + root) ** 2 - value) * (value - (1 - root) ** 2)
    result: Floats = np.sqrt(np.maximum(inside, 0)) / (2 * math.pi * ratio * value)
    return result


def eigenvalue_quantile(probability: Floats, ratio: float) -> Floats:
    """Eigenvalues at which the distribution function takes the given values, by bisection of the angle to the
    last bit."""
    low = np.zeros_like(probability)
    high = np.full_like(probability, math.pi)
    for _ in range(60):
        middle = (low + high) / 2
        below = angle_cdf(middle, ratio) < probability
        low = np.where(below, middle, low)
        high = np.where(below, high, middle)
    return eigenvalue((low + high) / 2, ratio)


@functools.lru_cache(maxsize=1024)
def median(ratio: float) -> float:
    """Median eigenvalue, by root finding on the distribution function."""
    angle = brentq(
        lambda t: float(angle_cdf(np.float64(t), ratio)) - 0.5, 0.0, math.pi, xtol=1e-15, rtol=1e-15
    )
    return float(eigenvalue(np.float64(angle), ratio))
