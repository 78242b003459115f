"""All cosines in float64, block by block: what is right, and what is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.family import Arrays

BINS = 2048
_BLOCK = 1024
# Of a sum of products in float64.
_ROUNDING = 1e-12


def reference(x: npt.NDArray[Any], y: npt.NDArray[Any], tolerance: float) -> Arrays:
    """Counts, largest magnitudes of both sides, unit columns as rows, and by inner edge how many lie near it.

    near: int64, shape (BINS - 1,): cosines within `tolerance` of the edge, whose bin is a matter of rounding.
    """
    unit_x, unit_y = _unit_rows(x), _unit_rows(y)
    counts = np.zeros(BINS, np.int64)
    near = np.zeros(BINS + 1, np.int64)
    largest_x, largest_y = np.zeros(len(unit_x)), np.zeros(len(unit_y))
    for i in range(0, len(unit_x), _BLOCK):
        for j in range(0, len(unit_y), _BLOCK):
            cosines = unit_x[i : i + _BLOCK] @ unit_y[j : j + _BLOCK].T
            places = (cosines + 1.0) * (BINS / 2)
            counts += np.bincount(places.astype(np.int64).ravel().clip(0, BINS - 1), minlength=BINS)
            edges = np.rint(places)
            close = np.abs(places - edges) <= tolerance * BINS / 2
            near += np.bincount(edges[close].astype(np.int64), minlength=BINS + 1)
            magnitudes = np.abs(cosines, out=cosines)
            for largest, start, axis in ((largest_x, i, 1), (largest_y, j, 0)):
                found = magnitudes.max(axis=axis)
                part = largest[start : start + len(found)]
                np.maximum(part, found, out=part)
    return {
        "counts": counts,
        "near": near[1:-1],
        "max_abs_x": largest_x,
        "max_abs_y": largest_y,
        "unit_x": unit_x,
        "unit_y": unit_y,
    }


def wrong_counts(
    found: npt.NDArray[Any], right: Arrays, tolerance: float, *, exact_edges: bool
) -> str | None:
    """What is wrong with the counts, if anything: their sum, or how many lie below some edge.

    exact_edges: `near` was made with this tolerance; otherwise whole bins are allowed for it.
    """
    counts = right["counts"]
    if found.shape != counts.shape or found.sum() != counts.sum():
        return f"{found.sum()} pairs in {len(found)} bins, there are {counts.sum()} in {len(counts)}"
    below, below_found = np.cumsum(counts)[:-1], np.cumsum(found)[:-1]
    if exact_edges:
        least, most = below - right["near"], below + right["near"]
    else:
        shift = math.ceil(tolerance * BINS / 2)
        least = np.concatenate([np.zeros(shift, np.int64), below])[: len(below)]
        most = np.concatenate([below, np.full(shift, counts.sum())])[shift:]
    wrong = np.flatnonzero((below_found < least) | (below_found > most))
    if len(wrong) == 0:
        return None
    edge = wrong[0]
    return (
        f"{below_found[edge]} cosines below {(edge + 1) * 2 / BINS - 1:.6f}, "
        f"there are {least[edge]} to {most[edge]}"
    )


def wrong_maxima(found: Arrays, right: Arrays, side: str, tolerance: float) -> tuple[float, str | None]:
    """Error of a side's largest magnitudes, and what is wrong with them or their partners, if anything."""
    truth, values = right[f"max_abs_{side}"], found[f"max_abs_{side}"]
    # A cosine that is off by the tolerance may have hidden one that is larger by twice that.
    allowed = 2 * tolerance
    if values.shape != truth.shape:
        return math.inf, f"{values.shape} largest cosines of {side}, there are {truth.shape}"
    off = np.abs(values - truth)
    worst = int(np.argmax(off))
    error = float(off[worst])
    if not error <= allowed:
        return error, f"largest cosine of column {worst} of {side} is off by {error:.3g}"
    if f"argmax_{side}" in found:
        other = "y" if side == "x" else "x"
        partners = right[f"unit_{other}"][found[f"argmax_{side}"]]
        attained = np.abs(np.einsum("ij,ij->i", right[f"unit_{side}"], partners))
        short = truth - attained
        worst = int(np.argmax(short))
        if not short[worst] <= allowed + _ROUNDING:
            return (
                error,
                f"column {worst} of {side} has a partner {short[worst]:.3g} nearer than the one named",
            )
    return error, None


def _unit_rows(w: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    rows = np.ascontiguousarray(w.astype(np.float64).T)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
