"""Ridge-regularised softmax regression in float64: the read-out that is fitted where a model has no head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SoftmaxRegression", "fit_softmax_regression"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_RIDGES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# Of the mean cross-entropy, in coordinates in which its curvature is about 1.
_SLOPE = 1e-4
_ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class SoftmaxRegression:
    """Log-odds of classes, linear in features that are centred and scaled to those of the fit."""

    centre: Floats
    scale: Floats
    coefficients: Floats
    """Shape (features + 1, classes); the last row is the intercept."""
    ridge: float

    def log_probabilities(self, features: Floats) -> Floats:
        """Shape (rows, classes), natural logarithms."""
        from scipy.special import log_softmax

        logits = ((features - self.centre) / self.scale) @ self.coefficients[:-1] + self.coefficients[-1]
        found: Floats = log_softmax(logits, axis=1)
        return found

    def losses(self, features: Floats, labels: Integers) -> Floats:
        """Minus the log-probability of each row's label."""
        rows = self.log_probabilities(features)
        found: Floats = -rows[np.arange(len(labels)), labels]
        return found


def fit_softmax_regression(
    features: Floats, labels: Integers, classes: int, validation: npt.NDArray[np.bool_]
) -> SoftmaxRegression:
    """Minimises the mean cross-entropy plus ridge / 2 times the squared coefficients but for the intercept.

    The ridge, on features of unit variance, goes down from 10 to 0.001 for as long as what is fitted to the
    other rows loses less on those of ``validation``; with the best one, all rows are fitted.
    The same input gives the same bits on the same machine and number of BLAS threads.

    Args:
        features: rows x features.
        labels: shape (rows,), 0 to classes - 1.
        classes: how many.
        validation: bool, shape (rows,): at least one row of each kind.
    """
    centre, scale = features.mean(0), features.std(0)
    # A constant feature becomes 0, not rounding blown up.
    scale = np.where(scale > 1e-12 * (1 + np.abs(centre)), scale, np.inf)
    standard = (features - centre) / scale
    best: SoftmaxRegression | None = None
    least = np.inf
    for ridge in _RIDGES:
        coefficients = _minimise(standard[~validation], labels[~validation], classes, ridge)
        found = SoftmaxRegression(centre, scale, coefficients, ridge)
        loss = found.losses(features[validation], labels[validation]).mean()
        if best is not None and loss >= least:
            break
        best, least = found, loss
    assert best is not None
    whole = _minimise(standard, labels, classes, best.ridge)
    return SoftmaxRegression(centre, scale, whole, best.ridge)


def _minimise(features: Floats, labels: Integers, classes: int, ridge: float) -> Floats:
    """Coefficients by L-BFGS, along the features' principal axes, each scaled to a curvature of about 1."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    count = len(labels)
    variances, axes = np.linalg.eigh(features.T @ features / count)
    steps = 1 / np.sqrt(np.maximum(variances, 0) / classes + ridge)
    inputs = np.column_stack([(features @ axes) * steps, np.full(count, np.sqrt(classes))])
    penalties = np.append(ridge * steps**2, 0.0)[:, None]
    rows = np.arange(count)

    def objective(flat: Floats) -> tuple[float, Floats]:
        scaled = flat.reshape(len(penalties), classes)
        logarithms = log_softmax(inputs @ scaled, axis=1)
        loss = -logarithms[rows, labels].mean() + 0.5 * np.sum(penalties * scaled**2)
        residual = np.exp(logarithms)
        residual[rows, labels] -= 1
        return float(loss), (inputs.T @ (residual / count) + penalties * scaled).ravel()

    found = minimize(
        objective,
        np.zeros(len(penalties) * classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "gtol": _SLOPE, "ftol": 0.0},
    )
    steepest = float(np.abs(found.jac).max())
    if not steepest <= 10 * _SLOPE:
        raise ValueError(
            f"the read-out's fit did not converge: steepest slope {steepest:.2g} after {found.nit} steps"
        )
    scaled = found.x.reshape(len(penalties), classes)
    return np.vstack([axes @ (scaled[:-1] * steps[:, None]), scaled[-1:] * np.sqrt(classes)])
