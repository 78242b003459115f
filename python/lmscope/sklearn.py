"""scikit-learn's door to the Lasso; needs the extra ``sklearn``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f"lmscope.sklearn needs scikit-learn 1.6 or later ({error}): pip install 'lmscope[sklearn]'"
    ) from error

from lmscope.kernels.lasso import lasso

__all__ = ["Lasso"]


class Lasso(RegressorMixin, MultiOutputMixin, BaseEstimator):  # type: ignore[misc]
    """``1 / (2 samples) ||y - X w - b||**2 + alpha ||w||_1``, certified; see `lmscope.kernels.lasso`.

    Args:
        alpha: the penalty, positive.
        fit_intercept: whether there is an intercept; without one X and y are taken as centred.
        tol: converged is a duality gap of at most ``tol * ||y||**2 / samples``, y centred where there is an
            intercept.
        max_iter: coordinate descent sweeps, at most.

    Attributes:
        coef_: float64, (features,) or (targets, features).
        intercept_: float, or float64 (targets,).
        dual_gap_: an upper bound of the duality gap, rounding included; float, or float64 (targets,).
        n_iter_: sweeps; int, the largest of several targets.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Dense input only: it passes scikit-learn's own validation, which converts lists, data frames and other
    numbers to float64 and keeps float32. A fit that has not converged warns with ConvergenceWarning.
    """

    def __init__(
        self, alpha: float = 1.0, *, fit_intercept: bool = True, tol: float = 1e-6, max_iter: int = 10_000
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> Lasso:
        """Fit to X, (samples, features), and y, (samples,) or (samples, targets).

        Raises:
            ValueError: what scikit-learn's validation refuses, and what `lmscope.kernels.lasso` does.
        """
        x, y = validate_data(
            self, X, y, dtype=(np.float64, np.float32), multi_output=True, y_numeric=True, order="F"
        )
        y = np.asarray(y, dtype=x.dtype)
        found = lasso(
            x,
            y,
            alpha=self.alpha,
            tol=self.tol,
            fit_intercept=self.fit_intercept,
            max_iter=self.max_iter,
        )
        self.coef_ = found.coef
        self.intercept_ = found.intercept
        self.dual_gap_ = found.gap
        self.n_iter_ = int(np.max(found.n_iter))
        if not np.all(found.converged):
            stopped = np.max(found.n_iter, where=~np.asarray(found.converged), initial=0) < self.max_iter
            way_out = (
                "Rounding stops it there: only a larger tol" if stopped else "A larger max_iter, alpha or tol"
            )
            warnings.warn(
                f"the Lasso has not converged after {self.n_iter_} sweeps: its duality gap is "
                f"{np.max(found.gap):.3g}. {way_out} may help.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: Any) -> Any:
        """``X @ coef_ + intercept_``: (samples,) or (samples, targets)."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return x @ self.coef_.T + self.intercept_
