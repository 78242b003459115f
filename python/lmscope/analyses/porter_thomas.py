"""Porter-Thomas test: do a unit vector's entries look like those of a uniformly random direction?"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import matrix, whole
from lmscope.analyses.porter_thomas_null import BLOCK_ENTRIES, distance_null, distances
from lmscope.analyses.unit_vectors import SHORTEST, unit_columns

__all__ = ["PorterThomas", "porter_thomas"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class PorterThomas:
    """How unlike random directions vectors are, by their entries; one value per vector, float64.

    Attributes:
        distance: Kolmogorov distance between the distribution of the vector's entries and the law of one
            entry v of a uniformly random unit vector, v^2 ~ Beta(1/2, (length - 1) / 2) with a random sign.
            The sign of the vector does not matter.
        p_value: (1 + draws at least as distant) / (draws + 1); at a random direction it is at most p with
            probability p, up to 1 / draws averaged over the seed.
        deviation: the distance above the mean of random directions, in their standard deviations, both to
            within 0.0005 of them at any length: means over many vectors can be compared. Says how far where
            the p-value has reached its smallest.
        windowed: mean p-value over ``window`` neighbouring vectors, this one in the middle; of fewer at
            the ends.
        windowed_low, windowed_high: a full window of independent random directions has its mean below or
            above them with probability ``false_positive_rate`` together, half on each side (Irwin-Hall law,
            exact for continuous p-values). Of a cut window more.
        window, false_positive_rate, seed: as given.
        length: entries of a vector.
        draws: random vectors behind each p-value.
        reason: why there is no test (all values NaN, draws 0): fewer than 8 entries. Else empty.
    """

    distance: Floats
    p_value: Floats
    deviation: Floats
    windowed: Floats
    windowed_low: float
    windowed_high: float
    window: int
    false_positive_rate: float
    length: int
    draws: int
    seed: int
    reason: str

    def _counts(self) -> tuple[int, int]:
        half = self.window // 2
        full = self.windowed[half : len(self.windowed) - half]
        return int(np.count_nonzero(self.p_value <= 0.05)), int(np.count_nonzero(full < self.windowed_low))

    def __repr__(self) -> str:
        what = f"{len(self.distance)} vectors of length {self.length}"
        if self.reason:
            return f"PorterThomas({what}: {self.reason})"
        single, windows = self._counts()
        return (
            f"PorterThomas({what}, {single} with p <= 0.05, {windows} windows of {self.window} below "
            f"{self.windowed_low:.3g}, smallest p {self.p_value.min():.2g}, draws={self.draws})"
        )

    def _repr_html_(self) -> str:
        title = f"Porter-Thomas test of {len(self.distance)} vectors of length {self.length}"
        if self.reason:
            return html_repr.block(title, html_repr.line(self.reason))
        single, windows = self._counts()
        return html_repr.block(
            title,
            html_repr.facts(
                [
                    ("p ≤ 0.05", f"{single}, {0.05 * len(self.distance):.1f} expected of random directions"),
                    ("smallest p", html_repr.number(float(self.p_value.min()))),
                    ("largest deviation", html_repr.number(float(self.deviation.max()))),
                    (
                        f"windows of {self.window} below {html_repr.number(self.windowed_low)}",
                        f"{windows}, rate {self.false_positive_rate / 2:g} for random directions",
                    ),
                ]
            ),
            html_repr.line(f"p-values from {self.draws} random vectors."),
        )


def porter_thomas(
    vectors: Any, *, window: int = 15, false_positive_rate: float = 0.01, seed: int = 0
) -> PorterThomas:
    """Test each unit vector against a uniformly random direction, and windows of neighbours together.

    Singular vectors of a matrix of independent Gaussian entries are such directions, and nearly independent
    of each other (v1 §4 of arXiv 2410.17770; Thamm, Staats and Rosenow, PRE 106, 054124, 2022). P-values are
    ranks among 9999 draws for up to 13422 entries, the smallest 1e-4, and 2^27 / length for more (2.1e-4 for
    28672). Draws take 0.5 s of one core for 768 entries and 4 s for 13422, the most, once a length.

    Args:
        vectors: length x count, columns of norm 1 to within 1e-5, numpy array or torch CPU tensor; neighbours
            in rank are neighbouring columns. Taken in blocks of a megabyte, without a copy of the
            whole.
        window: neighbours averaged, odd.
        false_positive_rate: of the band of a full window's mean, both sides together.
        seed: of the draws.

    Raises:
        ValueError: not a matrix, a column that is no unit vector (named), an even window, a rate or seed out
            of range.
        TypeError: another dtype, a CUDA tensor, a window or seed that is no whole number.
    """
    array = matrix("vectors", vectors)
    window, seed = whole("window", window, 1), whole("seed", seed, 0)
    if window % 2 == 0:
        raise ValueError(
            f"window must be odd, so that a vector has as many neighbours on each side, got {window}"
        )
    low = _mean_quantile(window, _half(false_positive_rate))
    length, count = array.shape
    distance = np.full(count, math.nan)
    if length < SHORTEST:
        for _ in unit_columns("vectors", array, BLOCK_ENTRIES):
            pass
        reason = f"vectors with {length} entries are too short for a test, which needs {SHORTEST}"
        return PorterThomas(
            distance, distance, distance, distance, math.nan, math.nan, window, false_positive_rate,
            length, 0, seed, reason,
        )  # fmt: skip
    for columns, rows in unit_columns("vectors", array, BLOCK_ENTRIES):
        distance[columns] = distances(rows, length)
    null = distance_null(length, seed=seed)
    p_value = null.p_values(distance)
    return PorterThomas(
        distance=distance,
        p_value=p_value,
        deviation=null.deviations(distance),
        windowed=_windowed(p_value, window),
        windowed_low=low,
        windowed_high=1 - low,
        window=window,
        false_positive_rate=false_positive_rate,
        length=length,
        draws=null.draws.size,
        seed=seed,
        reason="",
    )


def _half(rate: float) -> float:
    if not 0 < rate < 1:
        raise ValueError(f"false_positive_rate must lie between 0 and 1, got {rate}")
    return rate / 2


def _windowed(values: Floats, window: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first = np.maximum(places - window // 2, 0)
    end = np.minimum(places + window // 2 + 1, len(values))
    means: Floats = (sums[end] - sums[first]) / (end - first)
    return means


@functools.lru_cache(maxsize=256)
def _mean_quantile(count: int, probability: float) -> float:
    """Of the mean of ``count`` independent uniform values, for a probability up to one half.

    The density of their sum is the cardinal B-spline of that order.
    """
    from scipy import interpolate, optimize

    cdf = interpolate.BSpline.basis_element(np.arange(count + 1.0), extrapolate=False).antiderivative()
    root = optimize.brentq(lambda total: float(cdf(total)) - probability, 0.0, count / 2, xtol=1e-12)
    return float(root) / count
