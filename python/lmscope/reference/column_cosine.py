"""Float64 definition of the column cosines, with the whole matrix of pairs in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["column_cosine", "cosines"]

Matrix = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def cosines(x: Matrix, y: Matrix) -> Matrix:
    """(columns of x, columns of y); NaN where a column has norm zero."""
    with np.errstate(invalid="ignore"):
        products: Matrix = _unit(x).T @ _unit(y)
    return np.clip(products, -1.0, 1.0)


def column_cosine(
    x: Matrix, y: Matrix | None, *, bins: int
) -> tuple[Integers, Matrix, Matrix, Integers, Integers]:
    """Counts, largest magnitudes of both sides and where they are attained; NaN and -1 without a partner."""
    table = cosines(x, x if y is None else y)
    magnitudes = np.where(np.isnan(table), -1.0, np.abs(table))
    pairs = table
    if y is None:
        np.fill_diagonal(magnitudes, -1.0)
        pairs = table[np.triu_indices(len(table), 1)]
    counts = np.histogram(pairs[~np.isnan(pairs)], bins=bins, range=(-1.0, 1.0))[0].astype(np.int64)
    maxima, places = [], []
    for axis in (1, 0):
        best = magnitudes.max(axis=axis)
        maxima.append(np.where(best < 0, np.nan, best))
        places.append(np.where(best < 0, -1, magnitudes.argmax(axis=axis)))
    return counts, maxima[0], maxima[1], places[0], places[1]


def _unit(w: Matrix) -> Matrix:
    largest = np.abs(w).max(axis=0)
    # Powers of two, so that squares neither overflow nor vanish.
    scaled = np.ldexp(w, -np.frexp(np.where(largest == 0, 1.0, largest))[1])
    unit: Matrix = scaled / np.linalg.norm(scaled, axis=0)
    return unit
