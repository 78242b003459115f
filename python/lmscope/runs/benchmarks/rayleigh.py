"""Eigenvalues more accurate than any float64 solver's, for vectors that one gave.

A Rayleigh quotient's error is the square of the vector's: float64 vectors give values to about 1e-18 of the
largest. The distance to the eigenvalue is at most |r|^2 / gap, r = M v - q v with |v| = 1 (Parlett, The
Symmetric Eigenvalue Problem, theorem 11.7.1).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def sample_indices(count: int, wanted: int = 25) -> npt.NDArray[np.int64]:
    """Up to `wanted` of 0 .. count - 1: the first and last three, the rest evenly between."""
    ends = [0, 1, 2, count - 3, count - 2, count - 1]
    between = np.linspace(0, count - 1, max(2, wanted - 4)).round().astype(int).tolist()
    return np.array(sorted({index for index in ends + between if 0 <= index < count}), dtype=np.int64)


def eigenvectors(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """Ascending eigenvalues and vectors; torch's MKL is several times faster than numpy, where present."""
    try:
        import torch
    except ImportError:
        eigenvalues, vectors = np.linalg.eigh(matrix)
        return eigenvalues, vectors
    found = torch.linalg.eigh(torch.from_numpy(matrix))
    return found.eigenvalues.numpy(), found.eigenvectors.numpy()


def distances(residuals: Doubles, eigenvalues: Doubles, places: npt.NDArray[np.int64]) -> Doubles:
    """How far quotients may be from the eigenvalues at `places` of the ascending ones, by their residuals."""
    separations = np.concatenate([[np.inf], np.diff(eigenvalues), [np.inf]])
    gaps = np.minimum(separations[places], separations[places + 1])
    found: Doubles = np.minimum(residuals, residuals**2 / np.maximum(gaps, np.finfo(float).tiny))
    return found
