"""What a map of similarities between layers says: how it falls with distance, and how contrasted it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NeighbourCurve", "gini", "neighbour_curve"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NeighbourCurve:
    """Means over all pairs of layers at a distance.

    Attributes:
        distances: int64, ascending: places between the layers of a pair, from 1.
        means: float64: mean similarity at each distance.
        counts: int64: pairs at each distance that have a value.
    """

    distances: npt.NDArray[np.int64]
    means: Floats
    counts: npt.NDArray[np.int64]


def neighbour_curve(similarity: npt.ArrayLike, positions: Sequence[int] | None = None) -> NeighbourCurve:
    """Mean of the similarities of layers d places apart, for every d that has a value.

    Args:
        similarity: layers x layers, symmetric; NaN where there is none. The diagonal is not used.
        positions: of each layer, ascending, where some between them are left out; 0, 1, ... when None.
    """
    found = _square(similarity)
    places = np.arange(len(found)) if positions is None else np.asarray(positions)
    apart = np.subtract.outer(places, places)
    distances, means, counts = [], [], []
    for distance in range(1, int(apart.max(initial=0)) + 1):
        values = found[apart == distance]
        known = values[~np.isnan(values)]
        if known.size:
            distances.append(distance)
            means.append(float(known.mean()))
            counts.append(known.size)
    return NeighbourCurve(np.asarray(distances, np.int64), np.asarray(means), np.asarray(counts, np.int64))


def gini(values: npt.ArrayLike) -> float:
    """Gini coefficient: mean absolute difference of all ordered pairs over twice the mean, 0 to 1 - 1/n.

    Args:
        values: any shape, not negative. Of a square array the diagonal is left out, as a layer's similarity
            with itself is 1 under every index. NaN are left out.

    0 for equal values, ``1 - 1/n`` where one of n is all there is; NaN without values, 0 where all are zero.
    The contrast of DOCS and of other indices is compared by it (arXiv 2501.16650).

    Raises:
        ValueError: negative or infinite values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        array = array[~np.eye(len(array), dtype=bool)]
    known = np.sort(array[~np.isnan(array)])
    if known.size and not (known[0] >= 0 and np.isfinite(known[-1])):
        raise ValueError(f"values must be finite and not negative, got {known[0]} to {known[-1]}")
    if not known.size:
        return float("nan")
    if known[0] == known[-1]:
        return 0.0
    # Sums of huge values stay in range.
    known = known / known[-1]
    # Sorted, value i is the larger one of i pairs and the smaller one of n - 1 - i.
    ranks = 2 * np.arange(known.size) + 1 - known.size
    return float(ranks @ known / (known.size * known.sum()))


def _square(similarity: npt.ArrayLike) -> Floats:
    array = np.asarray(similarity, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"similarity must be square, got shape {array.shape}")
    return array
