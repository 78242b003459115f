"""Selected singular values of many bidiagonal matrices at once, by Sturm counts.

A count or one bisection step costs O(order) a matrix, against O(order^2) for all singular values, and sixteen
of them advance together. The calibration of the Marchenko-Pastur verdict lives on this: a Gaussian matrix and
a bidiagonal one with chi distributed entries have the same singular values in law.

Results are the same bits for any number of threads and any instruction set. Relative accuracy is that of the
entries: the counts are those of a matrix whose entries differ from the given ones by a few units in the last
place (differential stationary transform; Fernando and Parlett, Numer. Math. 67, 1994).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmscope import _core

Floats = NDArray[np.float64]


def count_below(diagonal: ArrayLike, off_diagonal: ArrayLike, thresholds: ArrayLike) -> NDArray[np.int64]:
    """Number of singular values of each matrix that are less than each of its thresholds.

    `diagonal` is batch x order, `off_diagonal` batch x (order - 1), `thresholds` batch x any; all float64 or
    convertible. Above or below the diagonal, and signs, make no difference. Returns int64 of the shape of
    `thresholds`. Thresholds in (0, 1e-30 times the matrix's norm) count as that much; for thresholds <= 0 the
    count is 0. ValueError for wrong shapes and for entries that are not finite, naming row and column.
    """
    a, b = _matrices(diagonal, off_diagonal)
    limits = np.ascontiguousarray(thresholds, dtype=np.float64)
    if limits.ndim != 2 or limits.shape[0] != a.shape[0]:
        raise ValueError(f"thresholds must have shape ({a.shape[0]}, any), got {limits.shape}")
    return _core.bidiagonal_count_below(a, b, limits)


def order_statistics(
    diagonal: ArrayLike,
    off_diagonal: ArrayLike,
    ranks: Sequence[int] | NDArray[np.int64],
    *,
    rtol: float = 1e-12,
) -> Floats:
    """The singular values of the given ascending ranks (0 is the smallest) of each matrix: float64, batch x
    len(ranks).

    `diagonal` is batch x order, `off_diagonal` batch x (order - 1). Each value is found by bisection to
    `rtol` of itself, or to 1e-30 of the matrix's norm if that is larger: a zero singular value comes out as
    at most that. ValueError for wrong shapes, ranks outside 0 .. order - 1, rtol outside [1e-15, 1), and
    entries that are not finite.
    """
    a, b = _matrices(diagonal, off_diagonal)
    wanted = np.ascontiguousarray(ranks, dtype=np.int64)
    if wanted.ndim != 1:
        raise ValueError(f"ranks must be one-dimensional, got shape {wanted.shape}")
    return _core.bidiagonal_order_statistics(a, b, wanted, float(rtol))


def _matrices(diagonal: ArrayLike, off_diagonal: ArrayLike) -> tuple[Floats, Floats]:
    a = np.ascontiguousarray(diagonal, dtype=np.float64)
    b = np.ascontiguousarray(off_diagonal, dtype=np.float64)
    if a.ndim != 2 or a.shape[1] < 1:
        raise ValueError(f"diagonal must have shape (batch, order) with order >= 1, got {a.shape}")
    if b.shape != (a.shape[0], a.shape[1] - 1):
        raise ValueError(f"off_diagonal must have shape {(a.shape[0], a.shape[1] - 1)}, got {b.shape}")
    return a, b
