"""Entries of uniformly random unit vectors: their law, and what the Kolmogorov distance to it is by chance.

One entry v of a uniformly random unit vector of length N has v^2 ~ Beta(1/2, (N - 1) / 2) and a random sign.
The N entries depend on each other through the norm, so that the distance of their empirical distribution is
smaller than that of N independent draws: it is drawn.

Draws: 9999 for vectors of up to 13422 entries, 2^27 / N for longer ones (4681 for 28672). A p-value is (1 +
draws at least as distant) / (draws + 1), so the smallest is 1e-4 (2.1e-4). Draws are kept in memory and on
disk (lmscope.analyses.calibration_cache), 80 kB a length.

Mean and standard deviation are smooth functions of N and not those of the draws: 9999 have a mean with an
error of 0.01 sd, the same for all vectors of that length, which many vectors together would tell from 0.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.analyses import calibration_cache

__all__ = ["BLOCK_ENTRIES", "DistanceNull", "distance_null", "distances", "draws_for", "entry_cdf", "moments"]

Floats = npt.NDArray[np.float64]

VERSION = 1
"""Part of the file's name: raise it when the draws or the distance change."""
_DRAWS = 9999
_DRAWN_ENTRIES = 2**27
BLOCK_ENTRIES = 2**17
"""That :func:`distances` is best given at once."""
_NODES = 2**16 + 1
# sqrt(N) D_N has the mean _MEAN[0] - 1 / (6 sqrt(N)) + _MEAN[1] / N, of steps of 1 / N in place of a
# continuous distribution, and the standard deviation _SD[0] + _SD[1] / N. Fitted to
# 2.5e7 draws of 19 lengths from 8 to 28672 (chi^2 14 and 11, 17 degrees of freedom): standard errors below
# 5e-4 standard deviations at any length from 8 up.
_MEAN = (0.83398, -0.00192)
_SD = (0.2596, -0.0951)
_WIDTH = 9.0
"""Standard deviations of an entry, beyond which the law has less than 1e-18."""


def entry_cdf(values: npt.ArrayLike, length: int) -> Floats:
    """P(entry <= value) for one entry of a uniformly random unit vector with ``length`` entries."""
    from scipy import special

    x = np.asarray(values, dtype=np.float64)
    inside = special.betainc(0.5, (length - 1) / 2, np.minimum(x * x, 1.0))
    cdf: Floats = 0.5 + 0.5 * np.sign(x) * inside
    return cdf


def distances(rows: Floats, length: int) -> Floats:
    """Kolmogorov distance of the entries of each row to the law of one entry; sorts the rows in place.

    The law is interpolated between 65537 of its values, within 3e-9.
    """
    nodes, law = _table(length)
    rows.sort(axis=1)
    above = np.arange(1, length + 1) / length - np.interp(rows, nodes, law)
    distance: Floats = np.maximum(above.max(axis=1), 1 / length - above.min(axis=1))
    return distance


@functools.lru_cache(maxsize=16)
def _table(length: int) -> tuple[Floats, Floats]:
    end = min(1.0, _WIDTH / math.sqrt(length))
    nodes = np.linspace(-end, end, _NODES)
    return nodes, entry_cdf(nodes, length)


@dataclass(frozen=True)
class DistanceNull:
    """Sorted distances of ``draws.size`` uniformly random unit vectors."""

    draws: Floats
    length: int

    def p_values(self, distance: Floats) -> Floats:
        at_least = self.draws.size - np.searchsorted(self.draws, distance, "left")
        p_values: Floats = (1 + at_least) / (self.draws.size + 1)
        return p_values

    def deviations(self, distance: Floats) -> Floats:
        """Distances above the mean of random unit vectors, in units of their standard deviation."""
        mean, sd = moments(self.length)
        deviations: Floats = (distance - mean) / sd
        return deviations


def moments(length: int) -> tuple[float, float]:
    """Mean and standard deviation of the distance of random unit vectors of at least 8 entries."""
    root = math.sqrt(length)
    mean = _MEAN[0] - 1 / (6 * root) + _MEAN[1] / length
    return mean / root, (_SD[0] + _SD[1] / length) / root


def draws_for(length: int) -> int:
    return min(_DRAWS, _DRAWN_ENTRIES // length)


def distance_null(length: int, *, seed: int = 0, draws: int | None = None) -> DistanceNull:
    """The null of a length, from memory, disk, or fresh draws."""
    count = draws_for(length) if draws is None else draws
    with calibration_cache.turn(f"porter-thomas-{length}-{count}-{seed}"):
        return _null(length, seed, count)


@functools.lru_cache(maxsize=64)
def _null(length: int, seed: int, draws: int) -> DistanceNull:
    name = f"porter-thomas-v{VERSION}-{length}-draws{draws}-seed{seed}"
    stored = calibration_cache.read(name, ("distance",), draws)
    if stored is None or not 0 < stored["distance"].min() <= stored["distance"].max() < 1:
        stored = {"distance": simulate(length, seed=seed, draws=draws)}
        calibration_cache.write(name, stored)
    ordered = np.sort(stored["distance"])
    ordered.flags.writeable = False
    return DistanceNull(ordered, length)


def simulate(length: int, *, seed: int, draws: int) -> Floats:
    """Distances of normalised Gaussian vectors, in the order of drawing."""
    generator = np.random.default_rng([seed, VERSION, length])
    found = np.empty(draws)
    height = max(1, BLOCK_ENTRIES // length)
    for first in range(0, draws, height):
        part = slice(first, min(first + height, draws))
        rows = generator.standard_normal((part.stop - first, length))
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        found[part] = distances(rows, length)
    return found
