"""Eigenvalues with error bounds, of a symmetric matrix or of a stack of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["SymmetricEigenvalues", "symmetric_eigenvalues"]


@dataclass(frozen=True, repr=False)
class SymmetricEigenvalues:
    """Eigenvalues of one symmetric matrix, or of every one of a stack.

    Attributes:
        values: float64, shape (n,) or (batch, n), descending along the last axis, in the units of the matrix.
        bounds: float64, same shape; every one an absolute error bound on the value at its place.
    """

    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]

    def __repr__(self) -> str:
        return (
            f"SymmetricEigenvalues({_sizes(self.values)} from {self.values.max():.6g} to "
            f"{self.values.min():.6g}, bounds up to {self.bounds.max():.2g})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            _sizes(self.values),
            html_repr.facts(
                [
                    ("largest", html_repr.number(self.values.max())),
                    ("median", html_repr.number(float(np.median(self.values)))),
                    ("smallest", html_repr.number(self.values.min())),
                    ("largest error bound", f"{self.bounds.max():.2g}"),
                ]
            ),
        )


def _sizes(values: npt.NDArray[np.float64]) -> str:
    return f"{values.shape[-1]} eigenvalues" + (f" of each of {len(values)} matrices" * (values.ndim == 2))


def symmetric_eigenvalues(a: Any) -> SymmetricEigenvalues:
    """All eigenvalues of the symmetric matrix ``a``, without vectors, each with an error bound.

    Args:
        a: numpy array or torch CPU tensor, (n, n) or (batch, n, n), float64, float32, float16 or bfloat16,
            any strides; unchanged. Only the lower triangle and the diagonal count, as for numpy's
            ``eigvalsh``: nothing asks whether the matrix is symmetric, and above the diagonal may stand
            anything.

    Returns:
        The n eigenvalues of every matrix, **descending** (numpy's ascend), computed in float64 whatever the
        dtype. With u = 2**-53 and l the largest magnitude among the values, or the largest less the smallest
        where that is more, each is bounded to be within ``u * (80 + 1.25 * sqrt(n)) * l`` of the exact one.
        Orthogonal reductions cost some u of rounding error for ordinary matrices; the constant covers equal
        entries and equal values, whose errors do not cancel. So the bound is probabilistic, not a worst case
        (Higham and Mary, SIAM J. Sci. Comput. 41, 2019), and absolute: a value far below l may have no digit
        right.

    Raises:
        ValueError: not square, empty, not 2-D or 3-D, NaN/Inf at or below the diagonal (named with matrix,
            row and column), or an eigenvalue beyond float64.
        TypeError: not an array, another dtype, or a CUDA tensor.

    The mean of the diagonal is subtracted and the matrix reflected by a fixed random vector, so that rounding
    errors of equal values and equal entries do not add up. Householder reduction to tridiagonal form, above
    order 512 by way of a band matrix (Bischof, Lang and Sun, ACM Trans. Math. Softw. 26, 2000), then brackets
    on Sturm counts. The same input, build and instruction set give the same bits, for any number of threads,
    alone or in a stack.
    """
    return SymmetricEigenvalues(*_core.symmetric_eigenvalues(a))
