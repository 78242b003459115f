"""The exact law of the largest entry of a uniformly random unit vector, with or without sign.

Entries x_j of such a vector are g_j / |g| with g standard normal, and |g| is independent of them. So, with
V(s) the probability density (times a constant and s^(N/2 - 1)) that g_j^2 <= a for all j given |g|^2 = s, the
Laplace transform of V is a product of N equal factors, and its inversion at s = 1 is

    P(max |x_j| <= x) = Gamma(N/2) / (2 pi i) * integral of exp(z) z^(-N/2) erf(sqrt(z) x)^N dz

along Re z = N / 2; with signs (1 + erf) / 2 in place of erf. The trapezoidal rule is exact there up to the
tails of a law, which the step keeps below exp(-40).

Independent entries of the exact marginal, P(|x_1| <= x)^N, and independent Gaussian ones are not good enough:
at the 0.15 % quantile they give 2.2 % and 2.1 % at N = 64, 0.33 % and 0.31 % at N = 768.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

__all__ = ["largest_entry_quantile", "largest_entry_tail"]

Floats = npt.NDArray[np.float64]

_NEGLIGIBLE = 40.0
_RARE = 1e-6
_PRODUCTS = 2**18


def largest_entry_tail(x: npt.ArrayLike, length: int, *, signed: bool = False) -> Floats:
    """P(max |x_j| >= x), or P(max x_j >= x), for a uniformly random unit vector with ``length`` >= 8 entries.

    Off by less than 1e-10 for up to 30000 entries; below 1e-6, by less than a relative 1e-6.
    """
    from scipy import stats

    values = np.atleast_1d(np.asarray(x, dtype=np.float64))
    # Union bound over the entries: two of them above x together are rarer than its square.
    squares = np.clip(values, 0, 1) ** 2
    tail: Floats = length / (1 + signed) * stats.beta.sf(squares, 0.5, (length - 1) / 2)
    # The largest |x_j| is at least 1 / sqrt(N), the largest x_j at least minus that.
    least = (-1 if signed else 1) / math.sqrt(length)
    tail[values <= least] = 1.0
    (common,) = np.nonzero((tail > _RARE) & (values > least))
    height = max(1, _PRODUCTS // len(_contour(length)[0]))
    for first in range(0, len(common), height):
        part = common[first : first + height]
        tail[part] = _inverted(values[part], length, signed)
    return tail


def largest_entry_quantile(probability: float, length: int, *, signed: bool = False) -> float:
    """The value that the largest entry stays below with this probability."""
    from scipy import optimize

    def excess(x: float) -> float:
        return 1 - probability - float(largest_entry_tail(x, length, signed=signed)[0])

    least = (-1 if signed else 1) / math.sqrt(length)
    return float(optimize.brentq(excess, least, 1.0, xtol=1e-13))


def _inverted(x: Floats, length: int, signed: bool) -> Floats:
    from scipy import special

    roots, weights = _contour(length)
    beyond = special.erfc(roots * x[:, None]) / (1 + signed)
    tail: Floats = (-np.expm1(length * np.log1p(-beyond)) @ weights).real
    return np.clip(tail, 0.0, 1.0)


@functools.lru_cache(maxsize=64)
def _contour(length: int) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
    """Roots of the nodes z = c (1 + i y), c = N / 2, on the upper half of the line; their weights."""
    from scipy import special

    c = length / 2
    # Copies of the law a period apart enter with its weight exp(-c (period - log(1 + period))).
    period = math.sqrt(4 * _NEGLIGIBLE / length)
    while c * (period - math.log1p(period)) < _NEGLIGIBLE:
        period *= 1.05
    step = 2 * math.pi / period
    # |1 + i y|^-c falls below exp(-30).
    end = c * math.sqrt(math.expm1(60 / c))
    nodes = np.arange(0.0, end + step, step)
    y = nodes / c
    # Gamma(c) exp(z) z^-c / (2 pi) = factor * exp(c i y) (1 + i y)^-c
    factor = math.exp(special.gammaln(c) + c - c * math.log(c)) * step / math.pi
    weights = factor * np.exp(1j * nodes - c * np.log1p(1j * y))
    weights[0] /= 2
    return np.sqrt(c + 1j * nodes), weights
