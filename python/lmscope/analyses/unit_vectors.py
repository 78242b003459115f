"""Columns that must be unit vectors, a few at a time: there may be no memory for a copy of them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["NORM_TOLERANCE", "SHORTEST", "orthonormal", "unit_columns"]

Floats = npt.NDArray[np.float64]

SHORTEST = 8
"""Vectors with fewer entries get no test."""
NORM_TOLERANCE = 1e-5
"""Norms may differ from 1 by so much: float32 vectors pass."""
_ORTHOGONALITY_TOLERANCE = 1e-4
_PROBES = 8


def unit_columns(name: str, vectors: npt.NDArray[Any], entries: int) -> Iterator[tuple[slice, Floats]]:
    """Column numbers, and those columns as the rows of a float64 array of its own with about ``entries``
    entries.

    Raises:
        ValueError: a column whose norm is not 1 (also where it holds NaN or Inf), named.
    """
    length, count = vectors.shape
    width = max(1, entries // length)
    for first in range(0, count, width):
        columns = slice(first, min(first + width, count))
        rows = np.array(vectors[:, columns].T, dtype=np.float64, order="C")
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        wrong = ~(np.abs(norms - 1) <= NORM_TOLERANCE)
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"column {first + place} of {name} has norm {norms[place]:.7g}, expected a unit vector "
                f"(1 to within {NORM_TOLERANCE:g})"
            )
        yield columns, rows


def orthonormal(name: str, vectors: Floats) -> None:
    """Check that the columns of a square matrix are orthonormal, for a few products with vectors.

    For random z the mean of ``|F F' z - z|^2`` is the squared Frobenius norm of ``F F' - I``; its root over
    that of the size must stay below 1e-4.

    Raises:
        ValueError: they are not.
    """
    size = len(vectors)
    probes = np.random.default_rng([size]).standard_normal((size, _PROBES))
    error = float(np.sqrt(np.mean((vectors @ (vectors.T @ probes) - probes) ** 2)))
    if not error <= _ORTHOGONALITY_TOLERANCE:
        raise ValueError(
            f"{name} must have orthonormal columns: V V' differs from the identity by {error:.2g} a row "
            f"(root mean square), expected at most {_ORTHOGONALITY_TOLERANCE:g}"
        )
