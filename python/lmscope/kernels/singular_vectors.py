"""Singular values with their vectors, and how far those miss, measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, SupportsFloat

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["SingularVectors", "singular_vectors"]


@dataclass(frozen=True, repr=False, eq=False)
class SingularVectors:
    """Singular triplets of one matrix W: ``W @ right[:, i] = values[i] * left[:, i]``.

    Attributes:
        values: float64, shape (k,), descending, in the units of the matrix.
        left: float64, shape (rows, k), column-major; column i belongs to ``values[i]``, unit norm.
        right: float64, shape (columns, k), likewise; the first of its largest entries in magnitude is
            positive.
        residual: float64, shape (k,): ``max(|W v - s u|, |W.T u - s v|)``, absolute, in Euclidean norm,
            measured on what is returned.
        orthogonality: the largest entry of ``|left.T @ left - I|`` and ``|right.T @ right - I|``, measured.
        ranks: int64, shape (k,), ascending: ``values[i]`` is the ``ranks[i]``-th largest, counted from 0.
        method: ``"gram"`` or ``"qr"``, the route that gave them.
    """

    values: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    residual: npt.NDArray[np.float64]
    orthogonality: float
    ranks: npt.NDArray[np.int64]
    method: str

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"SingularVectors({len(self)} of {len(self.left)} x {len(self.right)}, values from "
            f"{self.values[0]:.6g} to {self.values[-1]:.6g}, residuals up to {self.residual.max():.2g}, "
            f"orthogonality {self.orthogonality:.2g}, method={self.method!r})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"{len(self)} singular values and vectors of a {len(self.left)} x {len(self.right)} matrix",
            html_repr.facts(
                [
                    ("largest", html_repr.number(self.values[0])),
                    ("smallest", html_repr.number(self.values[-1])),
                    ("ranks", f"{self.ranks[0]} to {self.ranks[-1]}"),
                    ("largest residual", f"{self.residual.max():.2g}"),
                    ("orthogonality", f"{self.orthogonality:.2g}"),
                    ("method", self.method),
                ]
            ),
        )


def singular_vectors(
    w: Any,
    *,
    which: Literal["all"] | int | Iterable[int] = "all",
    method: Literal["auto", "gram", "qr"] = "auto",
    tolerance: float | None = None,
) -> SingularVectors:
    """Singular values of ``w`` with their left and right vectors, in float64 whatever the dtype of ``w``.

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides; not
            copied.
        which: ``"all"``; an int, the k largest, or with k < 0 the -k smallest; or ranks, 0 the largest,
            negative ones from the end. Left vectors are made for these alone where the smallest value among
            them is at least a quarter of the largest of all.
        method: ``"gram"``: eigenvectors of the Gram matrix of the smaller side, refined where its precision
            does not suffice. ``"qr"``: LAPACK's SVD (dgesdd) of the whole widened matrix, slower. ``"auto"``:
            the Gram route, and where its measured residual or orthogonality exceeds the tolerance, the QR
            route.
        tolerance: what ``"auto"`` takes from the Gram route, residuals over the largest value and inner
            products; None is ``u * (512 + 16 * sqrt(n))``, ``u = 2**-53`` and n the smaller side. All
            matrices that the tests try stay below it, which is no proof for all there are, and less cannot
            always be had: the result says what was reached, also of ``"gram"``, which takes no other route.

    Returns:
        The triplets asked for, by descending value, with residuals and orthogonality as measured by products
        with the matrix itself. Of a value that is zero or repeated any orthonormal basis is returned.

    Raises:
        ValueError: empty matrix, not 2-D, NaN/Inf (named with row and column), ``which`` out of range or
            another word than ``"all"``, another method, or a tolerance that is not positive.
        TypeError: not an array, another dtype, a CUDA tensor, or ``which``, ``method`` or ``tolerance`` of
            another type; a mask of bools is none of ranks.

    Memory beside what is returned, for rows >= columns = n and all vectors: ``16 * n**2`` bytes for the
    eigenvectors, then as much for their refinement, and 40 MB for widened rows and their products; ``48 *
    k**2`` where k values lie below 2**-6 of the largest, ``8 * (rows * n + n**2 + 2 * k**2)`` where their
    images depend on each other so much that three passes do not separate them from the leading ones; for
    ``"qr"`` ``8 * (rows * n + 6 * n**2)``. For part of the vectors add all right ones, and all left ones
    unless the condition of ``which`` holds. Cost: products that run in parallel, ``4 * rows * n**2``
    multiplications and up to twice that, and eigenvectors of order n on one thread. The same input and build
    give the same bits, for any number of threads.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be 'auto', 'gram' or 'qr', got {method!r}")
    if tolerance is not None and not isinstance(tolerance, SupportsFloat):
        raise TypeError(f"tolerance must be a number or None, got {tolerance!r}")
    return SingularVectors(*_core.singular_vectors(w, _asked(which), method, tolerance))


_WHICH = 'which must be "all", an int or ranks'


def _asked(which: Any) -> int | list[int] | None:
    """None for all, a number of vectors, or ranks."""
    if isinstance(which, str):
        if which != "all":
            raise ValueError(f"{_WHICH}, got {which!r}")
        return None
    single = isinstance(which, bytes) or getattr(which, "ndim", None) == 0
    if isinstance(which, Iterable) and not single:
        return [_whole(rank) for rank in which]
    return _whole(which)


def _whole(given: Any) -> int:
    # Bools are whole numbers to Python, and a tensor of one to torch.
    if isinstance(given, bool) or "bool" in str(getattr(given, "dtype", "")):
        raise TypeError(f"{_WHICH}, got {given!r}; the ranks of a mask are np.flatnonzero(mask)")
    try:
        number = index(given)
    except TypeError:
        raise TypeError(f"{_WHICH}, got {given!r}") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"which has {number}, more than any matrix has singular values")
    return number
