"""Fields and couplings block by block, and their distributions over many sets of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import real, vector
from lmscope.spin_glass.couplings import Fields

__all__ = [
    "BLOCKS",
    "BlockHistogram",
    "GaussianParts",
    "coupling_blocks",
    "fit_gaussians",
    "histogram_divergence",
]

Floats = npt.NDArray[np.float64]

BLOCKS: Mapping[str, str] = {"A": "field", "B": "field", "C": "coupling", "D": "coupling", "E": "coupling"}
"""Letters of arXiv 2408.02288, Fig. 1, and whether they are fields h_i or couplings J_ij. A: fields of the
D x D block of W, B: of its label row. C: couplings of two spins of the block, D: of one of the block and one
of the label row, E: of two of the label row."""


def coupling_blocks(fields: Fields) -> dict[str, Floats]:
    """Entries of h and J by block: letter, A to E as in Fig. 1 -> float64, 1-D; every pair of spins once."""
    block = fields.dimension**2
    above = np.triu_indices(block, 1)
    label = np.triu_indices(fields.dimension, 1)
    return {
        "A": fields.field[:block],
        "B": fields.field[block:],
        "C": -fields.gram[:block, :block][above],
        "D": -fields.gram[:block, block:].ravel(),
        "E": -fields.gram[block:, block:][label],
    }


class BlockHistogram:
    """Counts, mean and standard deviation of values that come a few at a time.

    The bins are equal in width over the range of the first values, half of it added on either side; what lies
    outside goes to the first and the last.
    """

    def __init__(self, first: Floats, bins: int = 100) -> None:
        low, high = float(first.min()), float(first.max())
        margin = (high - low) / 2 or 1.0
        self.edges: Floats = np.linspace(low - margin, high + margin, bins + 1)
        self.counts = np.zeros(bins, dtype=np.int64)
        self._sums = np.zeros(2)

    def add(self, values: Floats) -> None:
        inside = np.clip(values, self.edges[0], self.edges[-1])
        self.counts += np.histogram(inside, self.edges)[0]
        self._sums += values.sum(), values @ values

    @property
    def mean(self) -> float:
        return float(self._sums[0] / self.counts.sum())

    @property
    def sd(self) -> float:
        return math.sqrt(max(float(self._sums[1] / self.counts.sum()) - self.mean**2, 0.0))


def histogram_divergence(counts: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Kullback-Leibler divergence from one histogram to another of the same bins, in nats.

    Half a count is added to every bin (Jeffreys' prior), so that it is finite; equal laws then give about
    (filled bins - 1) (1 / n + 1 / m) / 2 for n and m independent values.

    Raises:
        ValueError: counts that are not (bins,), negative or not finite, or of another number of bins.
    """
    first, second = _counts("counts", counts) + 0.5, _counts("other", other) + 0.5
    if len(first) != len(second):
        raise ValueError(f"other must have the {len(first)} bins of counts, got {len(second)}")
    first /= first.sum()
    second /= second.sum()
    return float(first @ np.log(first / second))


@dataclass(frozen=True, eq=False, repr=False)
class GaussianParts:
    """A sum of Gaussian densities that fits a histogram. All (parts,).

    Attributes:
        share: weight of each; they need not add up to 1, as tails that no Gaussian has are left out.
        mean, sd: of each.
    """

    share: Floats
    mean: Floats
    sd: Floats

    def __repr__(self) -> str:
        parts = zip(self.share, self.mean, self.sd, strict=True)
        return " + ".join(f"{share:.3g} N({mean:.3g}, {sd:.3g}^2)" for share, mean, sd in parts)

    def _repr_html_(self) -> str:
        rows = zip(self.share, self.mean, self.sd, strict=True)
        return html_repr.block(
            "Sum of Gaussian densities",
            html_repr.table(
                ["part", "share", "mean", "sd"],
                [[number, *map(html_repr.number, map(float, row))] for number, row in enumerate(rows, 1)],
            ),
        )


def fit_gaussians(counts: npt.ArrayLike, edges: npt.ArrayLike, means: Sequence[float]) -> GaussianParts:
    """Least squares of a sum of Gaussian densities, one beginning at each of ``means``, to a histogram.

    As the fits of arXiv 2408.02288 (Fig. 1): to the density, so that the middle decides and not the tails.
    The Gaussians are averaged over each bin. ``counts``: (bins,); ``edges``: (bins + 1,), ascending.

    Raises:
        ValueError: shapes that do not go together, counts that are negative or not finite, edges that do not
            ascend, no means, or fewer filled bins than free numbers.
        RuntimeError: the fit does not converge.
    """
    from scipy.optimize import curve_fit
    from scipy.special import ndtr

    many, ends = _counts("counts", counts), real(edges)
    if ends.shape != (len(many) + 1,):
        raise ValueError(f"edges must be one more than the {many.size} counts, got shape {ends.shape}")
    ends, starts = vector("edges", ends), vector("means", real(means))
    if not (np.diff(ends) > 0).all():
        at = int(np.argmin(np.diff(ends)))
        raise ValueError(f"edges must ascend, got {ends[at]:g} before {ends[at + 1]:g}")
    filled = int(np.count_nonzero(many))
    if filled < 3 * len(starts):
        raise ValueError(f"counts: {filled} filled bins are too few for {3 * len(starts)} free numbers")
    width = np.diff(ends)
    total = many.sum()

    def density(_: Any, *numbers: float) -> Floats:
        found = np.zeros(len(many))
        for share, mean, sd in np.reshape(numbers, (-1, 3)):
            found += share * np.diff(ndtr((ends - mean) / abs(sd))) / width
        return found

    centres = (ends[:-1] + ends[1:]) / 2
    nearest = np.abs(centres[:, None] - starts).argmin(axis=1)
    begin: list[float] = []
    for part, mean in enumerate(starts):
        here = many * (nearest == part)
        share = float(here.sum() / total)
        spread = float(here @ np.square(centres - mean)) / max(float(here.sum()), 1.0)
        begin += [share, mean, max(math.sqrt(spread), float(width.min()) / 2)]
    found, _ = curve_fit(density, centres, many / total / width, p0=begin, maxfev=10_000)
    share, mean, sd = found.reshape(-1, 3).T
    return GaussianParts(share, mean, np.abs(sd))


def _counts(name: str, given: npt.ArrayLike) -> Floats:
    counts = vector(name, real(given))
    if counts.min() < 0:
        bin_ = int(np.argmin(counts))
        raise ValueError(f"{name} must be at least 0, got {counts[bin_]:g} in bin {bin_}")
    return counts
