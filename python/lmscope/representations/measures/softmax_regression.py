"""Ridge-regularised softmax regression in float64: the read-out that is fitted where a model has no head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SoftmaxRegression", "fit_softmax_regression"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_RIDGES = (1.0, 0.1, 0.01, 0.001)
_GRADIENT = 1e-5
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
        return _log_softmax(self._standard(features), self.coefficients)

    def losses(self, features: Floats, labels: Integers) -> Floats:
        """Minus the log-probability of each row's label."""
        rows = self.log_probabilities(features)
        found: Floats = -rows[np.arange(len(labels)), labels]
        return found

    def _standard(self, features: Floats) -> Floats:
        standard: Floats = (features - self.centre) / self.scale
        return standard


def fit_softmax_regression(
    features: Floats, labels: Integers, classes: int, validation: npt.NDArray[np.bool_]
) -> SoftmaxRegression:
    """Minimises the mean cross-entropy plus ridge / 2 times the squared coefficients but for the intercept.

    The ridge, on features of unit variance, is the one of 1, 0.1, 0.01 and 0.001 with the least loss on the
    rows of ``validation``, fitted to the others; then all rows are fitted. The same input gives the same bits
    on the same machine and number of BLAS threads.

    Args:
        features: rows x features.
        labels: shape (rows,), 0 to classes - 1.
        classes: how many.
        validation: bool, shape (rows,): at least one row of each kind.
    """
    centre, scale = features.mean(0), features.std(0)
    # A constant feature becomes 0, not rounding blown up.
    scale = np.where(scale > 1e-12 * (1 + np.abs(centre)), scale, np.inf)
    fitted = ~validation
    tried = []
    start = np.zeros((features.shape[1] + 1, classes))
    standard = (features - centre) / scale
    for ridge in _RIDGES:
        start = _minimise(standard[fitted], labels[fitted], ridge, start)
        found = SoftmaxRegression(centre, scale, start, ridge)
        tried.append((found.losses(features[validation], labels[validation]).mean(), -ridge, found))
    best = min(tried, key=lambda one: one[:2])[2]
    whole = _minimise(standard, labels, best.ridge, best.coefficients)
    return SoftmaxRegression(centre, scale, whole, best.ridge)


def _minimise(features: Floats, labels: Integers, ridge: float, start: Floats) -> Floats:
    from scipy.optimize import minimize

    rows = np.arange(len(labels))

    def objective(flat: Floats) -> tuple[float, Floats]:
        coefficients = flat.reshape(start.shape)
        weights = coefficients[:-1]
        logarithms = _log_softmax(features, coefficients)
        loss = -logarithms[rows, labels].mean() + 0.5 * ridge * np.sum(weights**2)
        residual = np.exp(logarithms)
        residual[rows, labels] -= 1
        residual /= len(labels)
        gradient = np.empty_like(coefficients)
        gradient[:-1] = features.T @ residual + ridge * weights
        gradient[-1] = residual.sum(0)
        return float(loss), gradient.ravel()

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "gtol": _GRADIENT, "ftol": 0.0},
    )
    steepest = float(np.abs(found.jac).max())
    if not steepest <= 100 * _GRADIENT:
        raise ValueError(
            f"the read-out's fit did not converge: steepest slope {steepest:.2g} after {found.nit} steps"
        )
    coefficients: Floats = found.x.reshape(start.shape)
    return coefficients


def _log_softmax(features: Floats, coefficients: Floats) -> Floats:
    from scipy.special import log_softmax

    found: Floats = log_softmax(features @ coefficients[:-1] + coefficients[-1], axis=1)
    return found
