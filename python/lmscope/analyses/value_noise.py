"""How far the singular values of pure noise lie from the quantiles of the Marchenko-Pastur law: drawn.

A spectrum is rigid: inside, a value strays from its quantile by about one spacing, so that ``|ln(value /
quantile)|`` is of the order of 1 / rank from below, and its mean over a slice of m of k values of the order
of 1 / k. Two ends are worse. The smallest values of a square matrix, whose law reaches down to 0, follow
Edelman's law, of medians 0.55, not pi / 4 = 0.79, in units of the scale over sqrt(k), and their logarithms
stray by as much as 1 / rank. The edges of any matrix fluctuate by k^(-2/3) of themselves. Both, and the noise
of the scale that was fitted, depend on the shape: roles have shapes of their own, and would differ by nothing
else. So the mean for noise of the same shape is drawn, with the same estimate of the scale, and taken off.

Draws are those of edge_calibration (bidiagonal matrices with the law of Gaussian ones), 1024 of them up to
1024 values and 2^30 / k^2 above (256 for 2048, 64 for 4096), for half a minute at most; kept on disk. The
error of the mean, ``sd / sqrt(draws)``, is one and the same for all matrices of a shape: a test that compares
means over m matrices takes it for a difference between shapes unless draws are far more than m.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope.analyses import calibration_cache
from lmscope.analyses import edge_calibration as calibration
from lmscope.analyses import marchenko_pastur_law as law

Floats = npt.NDArray[np.float64]

# Part of the file's name: raise it when the draws or the statistics change.
VERSION = 2
_STREAM = 8410


class ValueNoise(NamedTuple):
    """Of the mean of `deviations` over each slice, the smallest values first; float64, shape (slices,)."""

    mean: Floats
    sd: Floats
    draws: int


def deviations(values: Floats, scale: float, smaller: int, larger: int) -> Floats:
    """|ln(value / quantile)| of descending values, the quantiles those of the middles of `smaller` steps of
    the law's distribution function. Values count as eps * larger times the largest at least."""
    floor = values[0] * np.finfo(np.float64).eps * larger
    result: Floats = np.abs(np.log(np.maximum(values, floor) / (scale * _quantiles(smaller, larger))))
    return result


@functools.lru_cache(maxsize=64)
def _quantiles(smaller: int, larger: int) -> Floats:
    levels = (np.arange(smaller, 0, -1) - 0.5) / smaller
    return np.sqrt(larger * law.eigenvalue_quantile(levels, smaller / larger))


def draws_for(smaller: int) -> int:
    return max(8, min(1024, 2**30 // smaller**2))


@functools.lru_cache(maxsize=64)
def value_noise(smaller: int, larger: int, ranks: tuple[range, ...], *, seed: int = 0) -> ValueNoise:
    """`ranks`: of slices.slice_ranks, which their number tells."""
    draws = draws_for(smaller)
    names = tuple(f"slice{number}" for number in range(1, len(ranks) + 1))
    name = f"values-v{VERSION}-{smaller}x{larger}-slices{len(ranks)}-draws{draws}-seed{seed}"
    stored = calibration_cache.read(name, names, draws)
    if stored is None:
        stored = dict(zip(names, _simulate(smaller, larger, ranks, draws, seed).T, strict=True))
        calibration_cache.write(name, stored)
    drawn = np.array([stored[name] for name in names])
    return ValueNoise(drawn.mean(axis=1), drawn.std(axis=1, ddof=1), draws)


def _simulate(smaller: int, larger: int, ranks: tuple[range, ...], draws: int, seed: int) -> Floats:
    """Draws x slices."""
    from scipy import linalg

    generator = np.random.default_rng([seed, _STREAM, smaller, larger])
    low, high = calibration.middle_ranks(smaller)
    result = np.empty((draws, len(ranks)))
    for draw in range(draws):
        (above,), (beside,) = calibration.chi_entries(smaller, larger, 1, generator)
        # Squares to within rounding of the largest, k^2 or so times the smallest: far below their spread.
        squares = above**2
        squares[1:] += beside**2
        values = np.sqrt(
            np.abs(linalg.eigvalsh_tridiagonal(squares, above[:-1] * beside, lapack_driver="sterf"))
        )
        values.sort()
        scale = calibration.median_scale(values[low], values[high], smaller, larger)
        found = deviations(values[::-1], float(scale), smaller, larger)
        result[draw] = [found[own.start : own.stop].mean() for own in ranks]
    return result
