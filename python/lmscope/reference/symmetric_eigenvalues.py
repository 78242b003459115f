"""Definition of `lmscope.kernels.symmetric_eigenvalues` in numpy: float64 for the search, extended precision
for the answer.

numpy's own values-only solver is off by more than the kernel on some matrices, so it cannot judge the
kernel's bounds. Here float64 eigenvectors only supply a basis, made orthogonal to extended precision; what is
left beside the diagonal in that basis goes by Jacobi rotations in `np.longdouble`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Extended = NDArray[np.longdouble]


class Reference(NamedTuple):
    """Eigenvalues, descending, longdouble; `uncertainty` is what each may itself be off by."""

    values: Extended
    uncertainty: np.longdouble


def symmetric_eigenvalues(a: Any) -> Reference:
    """The eigenvalues of the symmetric matrix with the lower triangle of `a`, finite, of any floating dtype.

    Off by about 1e-18 of the largest magnitude; meant for orders up to a few hundred, as numpy has no fast
    products in extended precision.
    """
    lower = np.tril(np.asarray(a).astype(np.float64))
    whole = lower + np.tril(lower, -1).T
    largest = np.abs(whole).max()
    exponent = int(np.frexp(largest)[1]) - 1 if largest > 0 else 0
    # In two steps: 2^-exponent itself may overflow.
    whole = np.ldexp(np.ldexp(whole, -(exponent // 2)), -(exponent - exponent // 2))

    basis = np.linalg.eigh(whole)[1].astype(np.longdouble)
    for _ in range(2):  # Newton-Schulz: orthogonal to extended precision
        basis = basis + basis @ (np.eye(len(basis), dtype=np.longdouble) - basis.T @ basis) / 2
    values = _jacobi(basis.T @ whole.astype(np.longdouble) @ basis)
    order = len(values)
    uncertainty = (64 + 4 * np.sqrt(order)) * np.finfo(np.longdouble).eps * np.abs(values).max()
    unit = np.ldexp(np.longdouble(1), exponent)
    return Reference(np.sort(values)[::-1] * unit, uncertainty * unit)


def _jacobi(matrix: Extended) -> Extended:
    """Two-sided Jacobi, all disjoint pairs of a round-robin round at once."""
    order = len(matrix)
    size = order + order % 2
    work = np.zeros((size, size), dtype=np.longdouble)
    work[:order, :order] = (matrix + matrix.T) / 2
    negligible = np.finfo(np.longdouble).eps * np.abs(work).max()
    places = np.arange(size)
    for _ in range(30):
        rotated = False
        for _ in range(size - 1):
            p, q = places[: size // 2], places[size // 2 :][::-1]
            beside = work[p, q]
            active = np.abs(beside) > negligible
            # The padding is no eigenvalue: it stays alone.
            active &= (p < order) & (q < order)
            if active.any():
                rotated = True
                p, q, beside = p[active], q[active], beside[active]
                zeta = (work[q, q] - work[p, p]) / (2 * beside)
                tangent = np.where(zeta >= 0, 1, -1) / (np.abs(zeta) + np.sqrt(1 + zeta * zeta))
                cosine = 1 / np.sqrt(1 + tangent * tangent)
                sine = cosine * tangent
                left, right = work[:, p], work[:, q]
                work[:, p], work[:, q] = cosine * left - sine * right, sine * left + cosine * right
                upper, lower = work[p], work[q]
                cosine, sine = cosine[:, None], sine[:, None]
                work[p], work[q] = cosine * upper - sine * lower, sine * upper + cosine * lower
            places = np.concatenate([places[:1], places[-1:], places[1:-1]])
        if not rotated:
            break
    values: Extended = np.diagonal(work)[:order].copy()
    return values
