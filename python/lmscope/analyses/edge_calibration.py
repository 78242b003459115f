"""What Gaussian noise of a given shape does at the edges of its spectrum, and inside: drawn, not assumed.

The singular values of a k x D matrix of independent standard normals (k <= D) have the law of those of a k x
k bidiagonal matrix with independent entries chi_D, chi_{D-1}, ..., chi_{D-k+1} on the diagonal and chi_{k-1},
..., chi_1 beside it (Dumitriu and Edelman, J. Math. Phys. 43, 5830, 2002). From each draw only a few numbers
are kept, all of them from Sturm counts, and all of them computed exactly as for the matrix in question; its
rank among the draws is its p-value.

The number of draws depends on k alone: 20480 up to k = 1024, 2^25 / k above, at least 8192. A p-value is (1 +
draws at least as extreme) / (draws + 1), so the smallest is 4.9e-5 (1.2e-4), and a rate a asked for is met,
given the draws, with a standard error of sqrt(a (1 - a) / draws): 0.07 (0.11) percentage points at 1 %;
averaged over the seed it is met to 1 / draws.

Draws are kept in memory and on disk (lmscope.analyses.calibration_cache), about half a megabyte a shape.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmscope.analyses import calibration_cache
from lmscope.analyses import marchenko_pastur_law as law

Floats = NDArray[np.float64]

# Part of the file's name: raise it when the draws or the statistics change.
VERSION = 1
# One less than an odd prime: counts / k and levels hardly ever coincide, so that ties of the distance are
# rare, and no level is the median, where the value that sets the scale would fall on either side by rounding.
LEVELS = 508
# Level up to which values enter the bulk scale in full; those above count as this quantile.
BULK = 0.9
_CHUNK = 128
_ARRAYS = ("top", "bottom", "distance")


@dataclass(frozen=True)
class Bulk:
    """Marchenko-Pastur quantiles at LEVELS equiprobable levels, and what the bulk scale needs of them."""

    levels: Floats
    quantiles: Floats
    weights: Floats
    energy: float


@functools.lru_cache(maxsize=256)
def bulk(smaller: int, larger: int, cut: float = BULK) -> Bulk:
    """Levels g / (LEVELS + 1) and the quantiles of the singular values of unit scale there, in units of
    sqrt(larger)."""
    ratio = smaller / larger
    levels = np.arange(1, LEVELS + 1) / (LEVELS + 1)
    squares = law.eigenvalue_quantile(levels, ratio)
    used = squares[levels <= cut]
    # Trapezoid weights of the integral of the counting function over squared values up to the cut.
    nodes = np.concatenate([[(1 - math.sqrt(ratio)) ** 2], used])
    weights = np.zeros(LEVELS)
    weights[: used.size - 1] = (nodes[2:] - nodes[:-2]) / 2
    weights[used.size - 1] = (nodes[-1] - nodes[-2]) / 2
    density = law.eigenvalue_density(used, ratio)
    energy = float(weights[: used.size] @ (used * density))
    return Bulk(levels, np.sqrt(squares), weights, energy)


def median_scale(lower_middle: Floats, upper_middle: Floats, smaller: int, larger: int) -> Floats:
    """Standard deviation of one entry from the two middle singular values (the same one twice where their
    number is odd): the square root of their mean square over the Marchenko-Pastur median (Gavish and Donoho,
    IEEE Trans. IT 60, 2014)."""
    middle = np.hypot(lower_middle, upper_middle) / math.sqrt(2)
    scale: Floats = middle / math.sqrt(law.median_eigenvalue(smaller / larger) * larger)
    return scale


def middle_ranks(smaller: int) -> tuple[int, int]:
    return (smaller - 1) // 2, smaller // 2


def bulk_statistics(
    counts: NDArray[np.int64], smaller: int, larger: int, cut: float = BULK
) -> tuple[Floats, Floats]:
    """From counts of singular values below median_scale * sqrt(larger) * quantiles (last axis: LEVELS):

    - the bulk scale over the median scale: one Newton step of the scale that matches the mean of squared
      values with those above the `cut` quantile set to it (a winsorised second moment). The median alone, one
      value of a spectrum, is twice as noisy.
    - the distance: the largest difference between counts / k and the levels.
    """
    grid = bulk(smaller, larger, cut)
    difference = grid.levels - counts / smaller
    ratio = np.sqrt(np.maximum(1 + difference @ grid.weights / grid.energy, 1e-6))
    return ratio, np.abs(difference).max(axis=-1)


@dataclass(frozen=True)
class EdgeCalibration:
    """Sorted statistics of `top.size` draws of Gaussian noise with `smaller` x `larger` entries of unit
    variance.

    top, bottom: largest and smallest singular value over the bulk scale. distance: as in bulk_statistics.
    extremeness: the smaller of the two edges' tail probabilities, each divided by the share of the rate that
    its edge gets.
    """

    smaller: int
    larger: int
    top: Floats
    bottom: Floats
    distance: Floats
    extremeness: Floats

    @property
    def draws(self) -> int:
        return self.top.size

    @property
    def lower_share(self) -> float:
        return lower_share(self.smaller, self.larger)

    def _top_tail(self, at_least: NDArray[np.int64] | int) -> Floats:
        return np.asarray(at_least) / (self.draws * (1 - self.lower_share))

    def _bottom_tail(self, at_most: NDArray[np.int64] | int) -> Floats:
        return np.asarray(at_most) / (self.draws * self.lower_share)

    def p_value(self, top: float, bottom: float) -> float:
        """Probability that noise is as extreme as this largest and smallest value (over the bulk scale),
        edges together."""
        at_least = self.draws - int(np.searchsorted(self.top, top, "left"))
        if self.smaller == self.larger:
            low = smallest_value_cdf(bottom, self.smaller) / self.lower_share
        else:
            low = float(self._bottom_tail(int(np.searchsorted(self.bottom, bottom, "right"))))
        extremeness = min(float(self._top_tail(at_least)), low)
        return (1 + int(np.searchsorted(self.extremeness, extremeness, "right"))) / (self.draws + 1)

    def distance_p_value(self, distance: float) -> float:
        return (1 + self.draws - int(np.searchsorted(self.distance, distance, "left"))) / (self.draws + 1)

    def edges(self, rate: float) -> tuple[float, float]:
        """(lower, upper) over the bulk scale: noise has a value below or above them with probability `rate`,
        and does so exactly where p_value <= rate. ValueError where `rate` is less than 1 / (draws + 1)."""
        rank = math.floor(rate * (self.draws + 1) * (1 + 1e-12))
        if not 1 <= rank <= self.draws:
            raise ValueError(
                f"false_positive_rate={rate} is outside [{1 / (self.draws + 1):.2g}, 1): the edges of a "
                f"{self.smaller} x {self.larger} matrix are calibrated by {self.draws} draws"
            )
        limit = self.extremeness[rank - 1]
        every = np.arange(self.draws)
        upper = self.top[::-1][np.searchsorted(self._top_tail(every), limit, "left") - 1]
        if self.smaller == self.larger:
            lower = smallest_value_quantile(limit * self.lower_share, self.smaller)
        else:
            lower = self.bottom[np.searchsorted(self._bottom_tail(every), limit, "left") - 1]
        return float(lower), float(upper)


def lower_share(smaller: int, larger: int) -> float:
    """Share of the false-positive rate that goes to the lower edge: the gap below it, 1 - sqrt(k / D), within
    [0.01, 0.5].

    Without a gap only a singular matrix can show there, at any level, and what the lower edge gets the upper
    one loses.
    """
    return min(0.5, max(0.01, 1 - math.sqrt(smaller / larger)))


def smallest_value_cdf(value: float, order: int) -> float:
    """P(smallest singular value of a square matrix of unit scale <= value): 1 - exp(-t^2/2 - t), t = value
    sqrt(order) (Edelman, SIAM J. Matrix Anal. Appl. 9, 543, 1988)."""
    t = value * math.sqrt(order)
    return -math.expm1(-t * t / 2 - t)


def smallest_value_quantile(probability: float, order: int) -> float:
    """Inverse of smallest_value_cdf."""
    exponent = -math.log1p(-min(probability, 1 - 1e-16))
    return 2 * exponent / (math.sqrt(1 + 2 * exponent) + 1) / math.sqrt(order)


def draws_for(smaller: int) -> int:
    return max(8192, min(20480, 2**25 // smaller // _CHUNK * _CHUNK))


def edge_calibration(
    smaller: int, larger: int, *, seed: int = 0, draws: int | None = None
) -> EdgeCalibration:
    """The calibration of a shape, from memory, disk, or fresh draws (seconds: 43 us a draw at k = 256, 0.7
    ms at k = 4096)."""
    count = draws_for(smaller) if draws is None else draws
    with calibration_cache.turn(f"edges-{smaller}x{larger}-{seed}-{count}"):
        return _calibration(smaller, larger, seed, count)


@functools.lru_cache(maxsize=64)
def _calibration(smaller: int, larger: int, seed: int, draws: int) -> EdgeCalibration:
    name = f"edges-v{VERSION}-{smaller}x{larger}-draws{draws}-seed{seed}"
    stored = calibration_cache.read(name, _ARRAYS, draws)
    if stored is None:
        stored = simulate(smaller, larger, seed=seed, draws=draws)
        calibration_cache.write(name, stored)
    return _assemble(smaller, larger, stored)


def chi_entries(
    smaller: int, larger: int, draws: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Diagonals (draws x smaller) and off-diagonals (draws x (smaller - 1)) of bidiagonal matrices with the
    singular values of Gaussian ones."""
    diagonal = generator.standard_gamma((larger - np.arange(smaller)) / 2, size=(draws, smaller))
    off_diagonal = generator.standard_gamma(np.arange(smaller - 1, 0, -1) / 2, size=(draws, smaller - 1))
    return np.sqrt(2 * diagonal), np.sqrt(2 * off_diagonal)


def simulate(smaller: int, larger: int, *, seed: int, draws: int) -> dict[str, Floats]:
    """Statistics top, bottom, distance of each draw, in the order of drawing; the same for any number of
    threads."""
    from lmscope.kernels import bidiagonal

    result = {name: np.empty(draws) for name in _ARRAYS}
    quantiles = bulk(smaller, larger).quantiles * math.sqrt(larger)
    ranks = [0, *middle_ranks(smaller), smaller - 1]
    chunks = range(0, draws, _CHUNK)
    streams = np.random.SeedSequence([VERSION, smaller, larger, seed]).spawn(len(chunks))
    for first, stream in zip(chunks, streams, strict=True):
        part = slice(first, min(first + _CHUNK, draws))
        diagonal, off_diagonal = chi_entries(
            smaller, larger, part.stop - first, np.random.default_rng(stream)
        )
        # 1e-9 is far below the spread of any of these values, and saves steps.
        bottom, *middle, top = bidiagonal.order_statistics(diagonal, off_diagonal, ranks, rtol=1e-9).T
        scale = median_scale(middle[0], middle[1], smaller, larger)
        counts = bidiagonal.count_below(diagonal, off_diagonal, scale[:, None] * quantiles)
        ratio, result["distance"][part] = bulk_statistics(counts, smaller, larger)
        result["top"][part] = top / (scale * ratio)
        result["bottom"][part] = bottom / (scale * ratio)
    return result


def _assemble(smaller: int, larger: int, stored: dict[str, Floats]) -> EdgeCalibration:
    top, bottom, distance = (stored[name] for name in _ARRAYS)
    share = lower_share(smaller, larger)
    draws = top.size
    at_least = draws - np.searchsorted(np.sort(top), top, "left")
    high = at_least / (draws * (1 - share))
    if smaller == larger:
        low = np.array([smallest_value_cdf(value, smaller) for value in bottom]) / share
    else:
        low = np.searchsorted(np.sort(bottom), bottom, "right") / (draws * share)
    arrays = [np.sort(top), np.sort(bottom), np.sort(distance), np.sort(np.minimum(high, low))]
    for array in arrays:
        array.flags.writeable = False
    return EdgeCalibration(smaller, larger, *arrays)
