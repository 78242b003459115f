"""Singular values more accurate than any competitor's, for a sample of their indices.

Rayleigh quotients |A v|^2 / |v|^2 beyond float64 at eigenvectors v of the float64 Gram matrix (`rayleigh`),
with the uncertainty of each. Memory is a Gram matrix and its vectors beside the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.precise_product import precise_product
from lmscope.runs.benchmarks.rayleigh import distances, eigenvectors, sample_indices

_BLOCK_ROWS = 4096


def accurate_values(
    matrix: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Indices, singular values (float64, descending with the index) and their uncertainties."""
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    order = matrix.shape[1]
    gram = np.zeros((order, order))
    for block in _blocks(matrix):
        gram += block.T @ block
    eigenvalues, vectors = eigenvectors(gram)
    del gram
    indices = sample_indices(order)
    places = order - 1 - indices
    chosen = np.ascontiguousarray(vectors[:, places])
    del vectors
    squares = np.zeros(len(indices), np.longdouble)
    images = np.zeros((len(indices), order))
    for block in _blocks(matrix):
        image = precise_product(block, chosen)
        squares += (image * image).sum(axis=0)
        images += image.T.astype(np.float64) @ block
    norms = (chosen.astype(np.longdouble) ** 2).sum(axis=0)
    quotients = squares / norms
    residuals = np.linalg.norm(images - (quotients * chosen).T.astype(np.float64), axis=1)
    values = np.sqrt(quotients).astype(np.float64)
    off = distances(residuals, eigenvalues, places) / np.maximum(values, 1e-150)
    largest = values[0]
    rounding = len(matrix) ** 0.5 * float(np.finfo(np.longdouble).eps) * largest + np.spacing(values)
    return indices, values, off + rounding


def _blocks(matrix: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(matrix), _BLOCK_ROWS):
        yield np.ascontiguousarray(matrix[start : start + _BLOCK_ROWS], dtype=np.float64)
