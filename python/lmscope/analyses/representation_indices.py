"""Other indices of similarity, for comparison with DOCS: CKA, CCA, SVCCA, regression, Procrustes.

Forms of Kornblith et al. (2019), on matrices as they are: nothing is centred. All of them give one value to
every pair of orthogonal matrices, which is what DOCS was made to tell apart (arXiv 2501.16650).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "INDICES",
    "Decomposed",
    "cca",
    "linear_cka",
    "linear_regression",
    "orthogonal_procrustes",
    "svcca",
]

Floats = npt.NDArray[np.float64]

WIDEST = 2048


class Decomposed:
    """A matrix and its singular value decomposition, computed once for all indices and partners.

    Args:
        matrix: depth x columns, at most 2048 columns.
        name: of the argument, for errors.

    Raises:
        ValueError: not a matrix, too wide, NaN/Inf, or zeros only.
    """

    def __init__(self, matrix: npt.ArrayLike, name: str = "matrix") -> None:
        array = np.asarray(matrix, dtype=np.float64)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name} must be a matrix that is not empty, got shape {array.shape}")
        if array.shape[1] > WIDEST:
            raise ValueError(f"{name} has {array.shape[1]} columns, these indices take at most {WIDEST}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or Inf")
        if not array.any():
            raise ValueError(f"{name} is a matrix of zeros")
        # A power of two: squares of very small or large entries stay in range, and nothing else changes.
        self.values: Floats = np.ldexp(array, -int(np.frexp(np.abs(array).max())[1]))

    @cached_property
    def _svd(self) -> tuple[Floats, Floats]:
        vectors, values, _ = np.linalg.svd(self.values, full_matrices=False)
        return vectors, values

    @cached_property
    def norm(self) -> float:
        return float(np.linalg.norm(self.values))

    @cached_property
    def gram_norm(self) -> float:
        """Frobenius norm of the Gram matrix of the columns."""
        return float(np.linalg.norm(self.values.T @ self.values))

    def basis(self, energy: float | None = None) -> Floats:
        """Left singular vectors: all that are not rounding, or the leading ones that hold ``energy`` of the
        squared norm."""
        vectors, values = self._svd
        if energy is None:
            return vectors[:, values > values[0] * max(self.values.shape) * np.finfo(np.float64).eps]
        held = np.cumsum(values**2) / np.sum(values**2)
        return vectors[:, : int(np.searchsorted(held, energy * (1 - 1e-12))) + 1]


Matrix = npt.ArrayLike | Decomposed


def linear_cka(x: Matrix, y: Matrix) -> float:
    """``||Y'X||^2 / (||X'X|| ||Y'Y||)`` in Frobenius norms, 0 to 1: alike up to rotation and scale.

    Args:
        x, y: depth x columns, of equal depth, at most 2048 columns; or `Decomposed`, which serves many pairs
            (all indices here).

    Raises:
        ValueError: different depths, too wide, NaN/Inf, or a matrix of zeros (all indices here).
    """
    a, b = _pair(x, y)
    return _to_one(float(np.linalg.norm(b.values.T @ a.values)) ** 2 / (a.gram_norm * b.gram_norm))


def cca(x: Matrix, y: Matrix) -> float:
    """Mean canonical correlation of the column spaces, 0 to 1: mean cosine of their principal angles, over
    the smaller dimension."""
    a, b = _pair(x, y)
    return _mean_correlation(a.basis(), b.basis())


def svcca(x: Matrix, y: Matrix, *, energy: float = 0.99) -> float:
    """`cca` of the leading left singular directions that hold ``energy`` of each matrix's squared norm."""
    if not 0 < energy <= 1:
        raise ValueError(f"energy must lie above 0 and not above 1, got {energy}")
    a, b = _pair(x, y)
    return _mean_correlation(a.basis(energy), b.basis(energy))


def linear_regression(x: Matrix, y: Matrix) -> float:
    """``||Q'X||^2 / ||X||^2`` with an orthonormal basis Q of Y's columns: share of X's squared norm that a
    linear map of Y gives, 0 to 1. Not symmetric."""
    a, b = _pair(x, y)
    return _to_one(float(np.linalg.norm(b.basis().T @ a.values) ** 2 / a.norm**2))


def orthogonal_procrustes(x: Matrix, y: Matrix) -> float:
    """``2 ||X'Y||_* / (||X||^2 + ||Y||^2)`` after scaling both to norm 1: 1 less half the squared distance to
    the nearest rotation of the columns, 0 to 1."""
    a, b = _pair(x, y)
    across = (a.values / a.norm).T @ (b.values / b.norm)
    return _to_one(float(np.linalg.svd(across, compute_uv=False).sum()))


INDICES: dict[str, Callable[[Any, Any], float]] = {
    "linear_cka": linear_cka,
    "cca": cca,
    "svcca": svcca,
    "linear_regression": linear_regression,
    "orthogonal_procrustes": orthogonal_procrustes,
}
"""Name -> index of two matrices, 1 for a matrix and itself."""


def _pair(x: Matrix, y: Matrix) -> tuple[Decomposed, Decomposed]:
    a = x if isinstance(x, Decomposed) else Decomposed(x, "x")
    b = y if isinstance(y, Decomposed) else Decomposed(y, "y")
    if len(a.values) != len(b.values):
        raise ValueError(f"x has columns of length {len(a.values)}, y of length {len(b.values)}")
    return a, b


def _mean_correlation(a: Floats, b: Floats) -> float:
    return _to_one(float(np.linalg.svd(a.T @ b, compute_uv=False).sum() / min(a.shape[1], b.shape[1])))


def _to_one(value: float) -> float:
    """Rounding may leave a value of 1 just above it."""
    return min(value, 1.0)
