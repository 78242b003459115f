"""Comparing replicas: weights of the same Hamiltonian, one a row."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["mean_overlap", "scatter"]

Floats = npt.NDArray[np.float64]


def mean_overlap(rows: Floats) -> float:
    """Mean cosine between two rows, over all pairs; NaN of a single row."""
    count = len(rows)
    if count < 2:
        return math.nan
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((np.square(unit.sum(axis=0)).sum() - count) / (count * (count - 1)))


def scatter(rows: Floats) -> float:
    """Root of the mean squared distance between two rows, over all pairs; NaN of a single row."""
    count = len(rows)
    if count < 2:
        return math.nan
    return math.sqrt(2 / (count - 1) * np.square(rows - rows.mean(axis=0)).sum())
