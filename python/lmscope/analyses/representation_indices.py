"""Other indices of similarity, for comparison with DOCS: CKA, CCA, SVCCA, regression, Procrustes.

Forms of Kornblith et al. (2019), on matrices as they are: nothing is centred. All of them give one value to
every pair of orthogonal matrices, which is what DOCS was made to tell apart (arXiv 2501.16650).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "INDICES",
    "cca",
    "linear_cka",
    "linear_regression",
    "orthogonal_procrustes",
    "svcca",
]

Floats = npt.NDArray[np.float64]

WIDEST = 2048


def linear_cka(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """``||Y'X||^2 / (||X'X|| ||Y'Y||)`` in Frobenius norms, 0 to 1: alike up to rotation and scale.

    Args:
        x, y: depth x columns, of equal depth, at most 2048 columns (all indices here).

    Raises:
        ValueError: different depths, too wide, NaN/Inf, or a matrix of zeros (all indices here).
    """
    a, b = _pair(x, y)
    across, inside_a, inside_b = (float(np.linalg.norm(gram)) for gram in (b.T @ a, a.T @ a, b.T @ b))
    return across**2 / (inside_a * inside_b)


def cca(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Mean canonical correlation of the column spaces, 0 to 1: mean cosine of their principal angles, over
    the smaller dimension."""
    a, b = (_basis(matrix) for matrix in _pair(x, y))
    return _mean_correlation(a, b)


def svcca(x: npt.ArrayLike, y: npt.ArrayLike, *, energy: float = 0.99) -> float:
    """`cca` of the leading left singular directions that hold ``energy`` of each matrix's squared norm."""
    if not 0 < energy <= 1:
        raise ValueError(f"energy must lie above 0 and not above 1, got {energy}")
    a, b = (_basis(matrix, energy=energy) for matrix in _pair(x, y))
    return _mean_correlation(a, b)


def linear_regression(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """``||Q'X||^2 / ||X||^2`` with an orthonormal basis Q of Y's columns: share of X's squared norm that a
    linear map of Y gives, 0 to 1. Not symmetric."""
    a, b = _pair(x, y)
    return float(np.linalg.norm(_basis(b).T @ a) ** 2 / np.linalg.norm(a) ** 2)


def orthogonal_procrustes(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """``2 ||X'Y||_* / (||X||^2 + ||Y||^2)`` after scaling both to norm 1: 1 less half the squared distance to
    the nearest rotation of the columns, 0 to 1."""
    a, b = _pair(x, y)
    across = (a / np.linalg.norm(a)).T @ (b / np.linalg.norm(b))
    return float(np.linalg.svd(across, compute_uv=False).sum())


INDICES: dict[str, Callable[[Any, Any], float]] = {
    "linear_cka": linear_cka,
    "cca": cca,
    "svcca": svcca,
    "linear_regression": linear_regression,
    "orthogonal_procrustes": orthogonal_procrustes,
}
"""Name -> index of two matrices, 1 for a matrix and itself."""


def _pair(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, matrix in (("x", a), ("y", b)):
        if matrix.ndim != 2 or not matrix.size:
            raise ValueError(f"{name} must be a matrix that is not empty, got shape {matrix.shape}")
        if matrix.shape[1] > WIDEST:
            raise ValueError(f"{name} has {matrix.shape[1]} columns, these indices take at most {WIDEST}")
        if not np.isfinite(matrix).all():
            raise ValueError(f"{name} holds NaN or Inf")
        if not matrix.any():
            raise ValueError(f"{name} is a matrix of zeros")
    if len(a) != len(b):
        raise ValueError(f"x has columns of length {len(a)}, y of length {len(b)}")
    # Powers of two: squares of very small or large entries stay in range, and nothing else changes.
    return tuple(np.ldexp(m, -int(np.frexp(np.abs(m).max())[1])) for m in (a, b))  # type: ignore[return-value]


def _basis(matrix: Floats, *, energy: float | None = None) -> Floats:
    """Left singular vectors: all that are not rounding, or the leading ones that hold ``energy``."""
    vectors, values, _ = np.linalg.svd(matrix, full_matrices=False)
    if energy is None:
        return vectors[:, values > values[0] * max(matrix.shape) * np.finfo(np.float64).eps]
    held = np.cumsum(values**2) / np.sum(values**2)
    return vectors[:, : int(np.searchsorted(held, energy * (1 - 1e-12))) + 1]


def _mean_correlation(a: Floats, b: Floats) -> float:
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum() / min(a.shape[1], b.shape[1]))
