"""The Marchenko-Pastur law, of singular values and of eigenvalues: plain functions, free of kernels.

For W of k x D entries (k <= D) with standard deviation `scale`, the singular values v of a large W fill
[scale (sqrt(D) - sqrt(k)), scale (sqrt(D) + sqrt(k))] with density

    p(v) = D sqrt((v+^2 - v^2) (v^2 - v-^2)) / (k pi (scale sqrt(D))^2 v)

(Marchenko and Pastur, Math. USSR Sb. 1, 457, 1967). Orientation of a shape never matters.

The standard law is that of the eigenvalues of W W^T / D for entries of variance 1.

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
from numpy.typing import ArrayLike, NDArray
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
def median_eigenvalue(ratio: float) -> float:
    """Median eigenvalue, by root finding on the distribution function."""
    angle = brentq(
        lambda t: float(angle_cdf(np.float64(t), ratio)) - 0.5, 0.0, math.pi, xtol=1e-15, rtol=1e-15
    )
    return float(eigenvalue(np.float64(angle), ratio))


def density(x: ArrayLike, scale: float, shape: tuple[int, int]) -> Floats:
    """Probability density of the singular values at x (float64, the shape of x); 0 outside the edges."""
    smaller, larger, unit = _checked(scale, shape)
    value = np.asarray(x, dtype=np.float64) / unit
    ratio = smaller / larger
    root = math.sqrt(ratio)
    low, high = 1 - root, 1 + root
    inside = (value >= low) & (value <= high) & (value >= 0)
    safe = np.where(inside & (value > 0), value, 1.0)
    # Over the value, first: a square matrix has a finite density at zero.
    left = np.sqrt(np.maximum((safe - low) / safe, 0) * (safe + low) / safe)
    if low == 0:
        left = np.ones_like(safe)
    right = np.sqrt(np.maximum((high - value) * (high + value), 0))
    # A density over values near the smallest floats is itself near the largest: infinite past them.
    with np.errstate(over="ignore"):
        result: Floats = np.where(inside, left * right / (math.pi * ratio), 0.0) / unit
    return result


def cdf(x: ArrayLike, scale: float, shape: tuple[int, int]) -> Floats:
    """Distribution function of the singular values at x (float64, the shape of x), in closed form."""
    smaller, larger, unit = _checked(scale, shape)
    value = np.maximum(np.asarray(x, dtype=np.float64) / unit, 0.0)
    ratio = smaller / larger
    return np.clip(angle_cdf(angle_of_singular_value(value, ratio), ratio), 0.0, 1.0)


def median(ratio: float) -> float:
    """Median of the standard Marchenko-Pastur law of ratio k / D in (0, 1]: of the eigenvalues of W W^T / D
    with unit scale. The median singular value is scale * sqrt(D * median(ratio))."""
    return median_eigenvalue(float(ratio))


def asymptotic_edges(scale: float, shape: tuple[int, int]) -> tuple[float, float]:
    """Where the spectrum of ever larger noise ends: scale * (sqrt(D) - sqrt(k)), scale * (sqrt(D) +
    sqrt(k))."""
    smaller, larger, _ = _checked(scale, shape)
    return scale * (math.sqrt(larger) - math.sqrt(smaller)), scale * (math.sqrt(larger) + math.sqrt(smaller))


def sides(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape must be two positive sizes, got {shape}")
    return min(shape), max(shape)


def _checked(scale: float, shape: tuple[int, int]) -> tuple[int, int, float]:
    smaller, larger = sides(shape)
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
    return smaller, larger, scale * math.sqrt(larger)
