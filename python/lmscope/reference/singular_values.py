"""Definition of `lmscope.kernels.singular_values` in numpy: float64 for the search, extended precision for
the answer.

numpy's own values-only SVD is off by up to a hundred unit roundoffs of the largest value, more than the
kernel itself, so it cannot judge the kernel's bounds. Here a float64 SVD only supplies directions; the values
are then computed in `np.longdouble`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_JACOBI_COLUMNS = 160


class Reference(NamedTuple):
    """Singular values, descending, longdouble; `uncertainty[i]` is what `values[i]` may itself be off by."""

    values: NDArray[np.longdouble]
    uncertainty: NDArray[np.longdouble]


def singular_values(w: Any) -> Reference:
    """All min(rows, columns) singular values of a finite 2-D numpy array of any floating dtype.

    Up to 160 columns (of the smaller side): one-sided Jacobi in extended precision, started from float64
    singular vectors; off by about 1e-18 of the largest value. Beyond: Rayleigh quotients, see
    `rayleigh_quotients`, where the value exceeds 1e-10 of the largest, and below that a float64 SVD, whose
    uncertainty is the largest difference to a second, independent one (of the transposed matrix).
    """
    tall, exponent = _scaled(w)
    if tall.shape[1] <= _JACOBI_COLUMNS:
        values = _jacobi(tall)
        uncertainty = np.full(values.shape, 64 * np.finfo(np.longdouble).eps * values[0])
    else:
        left, first, right = np.linalg.svd(tall, full_matrices=False)
        second = np.linalg.svd(tall.T, full_matrices=False)[1]
        values = first.astype(np.longdouble)
        uncertainty = np.full(values.shape, np.abs(first - second).max(), dtype=np.longdouble)
        large = np.flatnonzero(first > 1e-10 * first[0])
        values[large], uncertainty[large] = _rayleigh(tall, left[:, large], right[large])
    order = np.argsort(-values, kind="stable")
    unit = np.ldexp(np.longdouble(1), exponent)
    return Reference(values[order] * unit, uncertainty[order] * unit)


def rayleigh_quotients(w: Any, indices: NDArray[np.int64]) -> Reference:
    """The values with the given descending ranks alone: ||W v|| / ||v|| in longdouble for float64 right
    vectors v.

    Its error is of second order in the error of v, so far below one unit roundoff of the largest value unless
    the value is itself of that size; the difference to the same quotient of the left vectors is the
    uncertainty.
    """
    tall, exponent = _scaled(w)
    left, _, right = np.linalg.svd(tall, full_matrices=False)
    values, uncertainty = _rayleigh(tall, left[:, indices], right[indices])
    unit = np.ldexp(np.longdouble(1), exponent)
    return Reference(values * unit, uncertainty * unit)


def _scaled(w: Any) -> tuple[Floats, int]:
    """The matrix or its transpose with rows >= columns and largest magnitude in [1, 2), and the exponent
    taken out.
    """
    matrix = np.asarray(w).astype(np.float64)
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    largest = np.abs(tall).max()
    exponent = int(np.frexp(largest)[1]) - 1 if largest > 0 else 0
    # In two steps: 2^-exponent itself may overflow.
    return np.ldexp(np.ldexp(tall, -(exponent // 2)), -(exponent - exponent // 2)), exponent


def _rayleigh(
    tall: Floats, left: Floats, right: Floats
) -> tuple[NDArray[np.longdouble], NDArray[np.longdouble]]:
    extended = tall.astype(np.longdouble)
    by_right = _norms(extended @ right.T.astype(np.longdouble)) / _norms(right.T.astype(np.longdouble))
    by_left = _norms(extended.T @ left.astype(np.longdouble)) / _norms(left.astype(np.longdouble))
    return by_right, np.abs(by_right - by_left)


def _norms(columns: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
    squares: NDArray[np.longdouble] = np.sqrt((columns * columns).sum(axis=0))
    return squares


def _jacobi(tall: Floats) -> NDArray[np.longdouble]:
    """One-sided Jacobi (Hestenes), all disjoint pairs of a round-robin round at once."""
    extended = tall.astype(np.longdouble)
    right = np.linalg.svd(tall, full_matrices=False)[2].T.astype(np.longdouble)
    for _ in range(2):  # Newton-Schulz: orthogonal to extended precision
        right = right + right @ (np.eye(len(right), dtype=np.longdouble) - right.T @ right) / 2
    work = extended @ right
    columns = work.shape[1]
    if columns % 2:
        work = np.concatenate([work, np.zeros((len(work), 1), dtype=np.longdouble)], axis=1)
    order = np.arange(work.shape[1])
    half = len(order) // 2
    negligible = np.finfo(np.longdouble).eps
    floor = (negligible * _norms(work).max()) ** 2
    for _ in range(30):
        rotated = False
        for _ in range(len(order) - 1):
            p, q = order[:half], order[half:][::-1]
            a, b = work[:, p], work[:, q]
            aa, bb, ab = (a * a).sum(axis=0), (b * b).sum(axis=0), (a * b).sum(axis=0)
            active = np.abs(ab) > np.maximum(negligible * np.sqrt(aa * bb), floor)
            if active.any():
                rotated = True
                zeta = (bb - aa) / (2 * np.where(active, ab, 1))
                sign = np.where(zeta >= 0, 1, -1)
                tangent = np.where(active, sign / (np.abs(zeta) + np.sqrt(1 + zeta * zeta)), 0)
                cosine = 1 / np.sqrt(1 + tangent * tangent)
                sine = cosine * tangent
                work[:, p], work[:, q] = cosine * a - sine * b, sine * a + cosine * b
            order = np.concatenate([order[:1], order[-1:], order[1:-1]])
        if not rotated:
            break
    values: NDArray[np.longdouble] = np.sort(_norms(work))[::-1][:columns]
    return values
