"""Float64 definition of `lmscope.kernels.bidiagonal`: dense matrices and numpy's singular values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def singular_values(diagonal: Floats, off_diagonal: Floats) -> Floats:
    """All singular values, ascending, batch x order; `diagonal` is batch x order, `off_diagonal` batch x
    (order - 1)."""
    batch, order = diagonal.shape
    dense = np.zeros((batch, order, order))
    index = np.arange(order)
    dense[:, index, index] = diagonal
    dense[:, index[:-1], index[1:]] = off_diagonal
    values: Floats = np.linalg.svd(dense, compute_uv=False)[:, ::-1].astype(np.float64)
    return values


def count_below(diagonal: Floats, off_diagonal: Floats, thresholds: Floats) -> NDArray[np.int64]:
    values = singular_values(diagonal, off_diagonal)
    counts: NDArray[np.int64] = (values[:, None, :] < thresholds[:, :, None]).sum(axis=2, dtype=np.int64)
    return counts


def order_statistics(diagonal: Floats, off_diagonal: Floats, ranks: Sequence[int]) -> Floats:
    return singular_values(diagonal, off_diagonal)[:, list(ranks)]
