"""Least squares from the moments of rows: ridge where the columns are all but dependent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.analyses.row_moments import RowMoments

__all__ = ["CONDITION_LIMIT", "Regression", "regress"]

Floats = npt.NDArray[np.float64]

CONDITION_LIMIT = 1e10
"""Above, the normal equations leave a slope fewer than some four digits: ridge lowers it to this."""


@dataclass(frozen=True, eq=False)
class Regression:
    """Of the last column of the moments on those before it.

    Attributes:
        slope: (d,); the one of least norm among equally good ones, to the accuracy of the ridge.
        extra: coefficient of the column behind the d; None where there was none or it was constant.
        intercept: of the whole.
        r2: 1 - residual over total sum of squares.
        degrees_of_freedom: of the fitted slopes, ``sum(e / (e + ridge))`` over the eigenvalues e.
        condition: of the covariance of the regressors before any ridge, that of the extra column scaled to
            the others'; Inf for dependent ones.
        ridge: what was added to every eigenvalue of that covariance.
        variances, basis: eigenvalues (d,), descending, and eigenvectors (columns) of the covariance of the d.
    """

    slope: Floats
    extra: float | None
    intercept: float
    r2: float
    degrees_of_freedom: float
    condition: float
    ridge: float
    variances: Floats
    basis: Floats


def regress(moments: RowMoments, dimensions: int, ridge: float | None) -> Regression:
    """Fits the last column on the first ``dimensions`` and, where there is one, the column between.

    Raises:
        ValueError: all regressors are constant, or ``ridge`` is 0 where they are dependent.
    """
    covariance = moments.scatter / moments.count
    inner = covariance[:dimensions, :dimensions]
    variances, basis = _descending(inner)
    if not variances[0] > 0:
        raise ValueError("embedding: every fitted row is the same, and there is nothing to regress on")
    scales = np.ones(len(covariance) - 1)
    if len(scales) > dimensions:
        spread = math.sqrt(covariance[dimensions, dimensions])
        # The mean of a constant column is rounded.
        constant = spread <= 1e-13 * abs(moments.mean[dimensions])
        scales[dimensions] = 0.0 if constant else math.sqrt(np.trace(inner) / dimensions) / spread
    kept = scales > 0
    scales = scales[kept]
    regressors = covariance[:-1, :-1][np.ix_(kept, kept)] * np.outer(scales, scales)
    target = covariance[:-1, -1][kept] * scales
    if len(scales) > dimensions:
        eigenvalues, vectors = _descending(regressors)
    else:
        eigenvalues, vectors = variances, basis
    largest, smallest = float(eigenvalues[0]), float(eigenvalues[-1])
    dependent = smallest <= len(eigenvalues) * np.finfo(np.float64).eps * largest
    condition = math.inf if dependent else largest / smallest
    if ridge is None:
        ridge = 0.0 if condition <= CONDITION_LIMIT else largest / CONDITION_LIMIT
    elif ridge == 0 and dependent:
        raise ValueError(
            "embedding: the columns of the fitted rows are linearly dependent, and with ridge=0 many slopes "
            "fit equally well; leave ridge at None, which adds 1e-10 of the largest variance"
        )
    held = np.maximum(eigenvalues, 0.0)
    found = vectors @ ((vectors.T @ target) / (held + ridge))
    total = float(covariance[-1, -1])
    residual = total - float(found @ (2 * target - regressors @ found))
    coefficients = found * scales
    return Regression(
        slope=coefficients[:dimensions],
        extra=float(coefficients[dimensions]) if len(scales) > dimensions else None,
        intercept=float(moments.mean[-1] - moments.mean[:-1][kept] @ coefficients),
        r2=1 - residual / total,
        degrees_of_freedom=float(np.sum(held / (held + ridge))),
        condition=condition,
        ridge=ridge,
        variances=np.maximum(variances, 0.0),
        basis=basis,
    )


def adjusted(r2: float, tokens: int, degrees_of_freedom: float) -> float:
    return 1 - (1 - r2) * (tokens - 1) / (tokens - 1 - degrees_of_freedom)


def _descending(symmetric: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh(symmetric)
    return values[::-1], vectors[:, ::-1]
