"""Eigenvalues more accurate than any competitor's, for a sample of their indices: see `rayleigh`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.family import Arrays
from lmscope.runs.benchmarks.precise_product import precise_product
from lmscope.runs.benchmarks.rayleigh import distances, eigenvectors, sample_indices

_BLOCK_ROWS = 4096
_MEMBERS = 8


def accurate_eigenvalues(matrix: npt.NDArray[Any]) -> Arrays:
    """Of a matrix or of some members of a stack: indices into descending values, those, and how sure."""
    stack = matrix.reshape(-1, *matrix.shape[-2:])
    members = sample_indices(len(stack), _MEMBERS)
    indices = sample_indices(matrix.shape[-1])
    found = [_sampled(stack[member], indices) for member in members]
    return {
        "shape": np.array(matrix.shape[:-1]),
        "members": members,
        "indices": indices,
        "values": np.array([values for values, _, _ in found]),
        "uncertainties": np.array([uncertainties for _, uncertainties, _ in found]),
        "largest": np.array([largest for _, _, largest in found]),
    }


def _sampled(
    matrix: npt.NDArray[np.float64], indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    eigenvalues, vectors = eigenvectors(matrix)
    places = len(eigenvalues) - 1 - indices
    chosen = np.ascontiguousarray(vectors[:, places])
    images = np.concatenate(
        [
            precise_product(matrix[start : start + _BLOCK_ROWS], chosen)
            for start in range(0, len(matrix), _BLOCK_ROWS)
        ]
    )
    norms = (chosen.astype(np.longdouble) ** 2).sum(axis=0)
    quotients = (images * chosen).sum(axis=0) / norms
    residuals = np.linalg.norm((images - quotients * chosen).astype(np.float64), axis=0)
    values = quotients.astype(np.float64)
    largest = float(np.abs(eigenvalues).max())
    rounding = len(matrix) ** 0.5 * float(np.finfo(np.longdouble).eps) * largest + np.spacing(np.abs(values))
    return values, distances(residuals, eigenvalues, places) + rounding, largest
