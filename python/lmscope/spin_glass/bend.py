"""Where a curve bends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["bend"]

Floats = npt.NDArray[np.float64]


def bend(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Where two straight lines meet that fit the points best: continuous, least squares, knot free.

    The spread of replicas over the number of tasks bends so at dimension * (dimension + 1): below, every task
    takes one flat direction; above, none is left. Its error is best told from repeats with other seeds.

    Args:
        x: (points,), at least 5 different values.
        y: (points,).

    Raises:
        ValueError: arrays of other shapes, too few points, or a value that is not finite.
    """
    at, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if at.ndim != 1 or at.shape != values.shape:
        raise ValueError(f"x and y must be 1-D and equally long, got shapes {at.shape} and {values.shape}")
    if not (np.isfinite(at).all() and np.isfinite(values).all()):
        raise ValueError("x and y must be finite")
    places = np.unique(at)
    if len(places) < 5:
        raise ValueError(f"x has {len(places)} different values; a bend takes at least 5")
    best = (np.inf, np.nan)
    # Two points on either side at least. Within an interval of x the best knot is where the lines of either
    # side meet, if that lies there; else at one of its ends.
    for low, high in pairwise(places[1:-1]):
        left = at <= low
        lines = [np.polynomial.polynomial.polyfit(at[side], values[side], 1) for side in (left, ~left)]
        slope = lines[0][1] - lines[1][1]
        meeting = (lines[1][0] - lines[0][0]) / slope if slope else low
        for knot in {low, high, min(max(meeting, low), high)}:
            best = min(best, (_misfit(at, values, knot), knot))
    return float(best[1])


def _misfit(at: Floats, values: Floats, knot: float) -> float:
    design = np.column_stack([np.ones_like(at), at, np.maximum(at - knot, 0)])
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    return float(np.square(values - design @ solution).sum())
