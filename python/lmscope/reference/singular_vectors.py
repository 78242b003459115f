"""Definition of `lmscope.kernels.singular_vectors` in numpy, in extended precision.

Vectors of close values are not determined one by one, only the spaces they span; so there is no array to
compare with. What is defined is how far given triplets miss: the residuals of each, and the orthogonality of
all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Misses(NamedTuple):
    """`residual[i]`: ``max(|W v - s u|, |W^T u - s v|)`` of triplet i; `orthogonality`: the largest entry of
    ``|V^T V - I|`` and ``|U^T U - I|``.
    """

    residual: NDArray[np.longdouble]
    orthogonality: np.longdouble


def misses(w: Any, values: Floats, left: Floats, right: Floats) -> Misses:
    """What the triplets in the columns of `left` and `right` miss by, for a finite 2-D numpy array of any
    floating dtype; the longdouble products round at 2^-64 where the kernel's own measurement does at 2^-53.
    """
    matrix = np.asarray(w).astype(np.longdouble)
    s, u, v = (array.astype(np.longdouble) for array in (values, left, right))
    unit = np.eye(len(values), dtype=np.longdouble)
    return Misses(
        np.maximum(_norms(matrix @ v - u * s), _norms(matrix.T @ u - v * s)),
        max(np.abs(u.T @ u - unit).max(), np.abs(v.T @ v - unit).max()),
    )


def projector(vectors: Floats) -> Floats:
    """The orthogonal projector on the span of orthonormal columns: the same for every basis of it."""
    product: Floats = vectors @ vectors.T
    return product


def _norms(columns: NDArray[np.longdouble]) -> NDArray[np.longdouble]:
    # Scaled, as squares of tiny residuals would vanish.
    largest = np.abs(columns).max(axis=0)
    scale = np.where(largest > 0, largest, 1)
    norms: NDArray[np.longdouble] = scale * np.sqrt(((columns / scale) ** 2).sum(axis=0))
    return norms
