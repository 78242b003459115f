"""Least squares from the moments of rows: ridge where the columns are all but dependent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.analyses.row_moments import RowMoments

__all__ = ["CONDITION_LIMIT", "Regression", "principal_components", "regress"]

Floats = npt.NDArray[np.float64]

CONDITION_LIMIT = 1e11
"""Rounding moves the slopes, each times its column's spread, by up to some five times float64's epsilon times
the condition number, of their norm: four digits are left here, and ridge holds the condition number to it."""

# Below, squares of deviations have lost digits to underflow.
_LEAST_VARIANCE = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Regression:
    """Of the last column of the moments on those before it.

    Attributes:
        slope: (d,); 0 for a column of one value.
        extra: coefficient of the column behind the d; None where there was none or it was constant.
        intercept: of the whole.
        r2: 1 - residual over total sum of squares.
        degrees_of_freedom: of the fitted slopes, ``sum(e / (e + ridge))`` over the eigenvalues e.
        condition: of the correlation matrix of the regressors that vary, before any ridge; Inf for dependent
            ones.
        ridge: what was added to every eigenvalue of that matrix.
    """

    slope: Floats
    extra: float | None
    intercept: float
    r2: float
    degrees_of_freedom: float
    condition: float
    ridge: float


def regress(moments: RowMoments, dimensions: int, ridge: float | None) -> Regression:
    """Fits the last column on the first ``dimensions`` and, where there is one, the column between.

    Columns are taken in units of their spreads: what is fitted does not depend on the units they come in.

    Raises:
        ValueError: all of the first ``dimensions`` columns are constant; variances that float64 cannot hold;
            ``ridge`` is 0 where columns are dependent.
    """
    _check_range(moments, dimensions)
    if not moments.varies[:dimensions].any():
        raise ValueError("embedding: every fitted row is the same, and there is nothing to regress on")
    kept = np.flatnonzero(moments.varies[:-1])
    spreads = np.sqrt(np.diagonal(moments.scatter) / moments.count)
    columns, of_target = spreads[kept], spreads[-1]
    # One division after the other: the product of two spreads may be beyond float64.
    correlation = moments.scatter[np.ix_(kept, kept)] / moments.count / columns / columns[:, None]
    target = moments.scatter[kept, -1] / moments.count / columns / of_target
    eigenvalues, vectors = _descending(correlation)
    largest, smallest = float(eigenvalues[0]), float(eigenvalues[-1])
    # Below, an eigenvalue is the rounding of 0.
    told = eigenvalues > len(eigenvalues) * np.finfo(np.float64).eps * largest
    dependent = not told.all()
    condition = math.inf if dependent else largest / smallest
    if ridge is None:
        ridge = 0.0 if condition <= CONDITION_LIMIT else largest / CONDITION_LIMIT
    elif ridge == 0 and dependent:
        raise ValueError(
            "embedding: the columns of the fitted rows are linearly dependent, and with ridge=0 many slopes "
            f"fit equally well; leave ridge at None, which adds {1 / CONDITION_LIMIT:.0e} of the largest "
            "eigenvalue of their correlation matrix"
        )
    eigenvalues, vectors = eigenvalues[told], vectors[:, told]
    found = vectors @ ((vectors.T @ target) / (eigenvalues + ridge))
    coefficients = np.zeros(len(spreads) - 1)
    coefficients[kept] = found / columns * of_target
    return Regression(
        slope=coefficients[:dimensions],
        extra=float(coefficients[dimensions]) if dimensions in kept else None,
        intercept=float(moments.mean[-1] - moments.mean[:-1] @ coefficients),
        r2=float(found @ (2 * target - correlation @ found)),
        degrees_of_freedom=float(np.sum(eigenvalues / (eigenvalues + ridge))),
        condition=condition,
        ridge=ridge,
    )


def principal_components(moments: RowMoments, dimensions: int) -> tuple[Floats, Floats]:
    """Eigenvalues (descending) and eigenvectors (columns) of the covariance of the first columns."""
    variances, basis = _descending(moments.scatter[:dimensions, :dimensions] / moments.count)
    return np.maximum(variances, 0.0), basis


def _check_range(moments: RowMoments, dimensions: int) -> None:
    names = [*(f"embedding, column {column}" for column in range(dimensions)), "bias"]
    names[len(moments.mean) - 1 :] = ["log_probability"]
    variances = np.diagonal(moments.scatter) / moments.count
    for column in np.flatnonzero(~np.isfinite(variances) | (moments.varies & (variances < _LEAST_VARIANCE))):
        size = "small" if variances[column] < _LEAST_VARIANCE else "large"
        raise ValueError(
            f"{names[column]}: differences between tokens are so {size} that float64 cannot hold their "
            "squares; give it in other units"
        )


def adjusted(r2: float, tokens: int, degrees_of_freedom: float) -> float:
    return 1 - (1 - r2) * (tokens - 1) / (tokens - 1 - degrees_of_freedom)


def _descending(symmetric: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh(symmetric)
    return values[::-1], vectors[:, ::-1]
