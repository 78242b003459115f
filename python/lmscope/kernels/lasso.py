"""The Lasso of one target, or of several on one design: a solution, or a path on a grid."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr
from lmscope.kernels.lasso_arguments import as_number, as_tolerance
from lmscope.kernels.lasso_homotopy import (
    ChosenSupport,
    Knots,
    LassoHomotopy,
    PrefixLassoOrder,
    as_columns,
    as_integer,
    lasso_homotopy,
    prefix_lasso_order,
    support_with,
)

__all__ = [
    "Lasso",
    "LassoHomotopy",
    "LassoPath",
    "PrefixLassoOrder",
    "lasso",
    "lasso_homotopy",
    "lasso_path",
    "prefix_lasso_order",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Of an exact path that ends by its number of non-zeros.
_MOST_EVENTS = 1_000_000


@dataclass(frozen=True, repr=False)
class Lasso:
    """Solutions of scikit-learn's Lasso; scalars for a y of one dimension, else one entry per target.

    Attributes:
        coef: float64, shape (features,) or (targets, features).
        intercept: float, or float64 (targets,); 0 without ``fit_intercept``.
        alpha: the penalty, as a number whatever it was given as.
        alpha_max: from there on all coefficients are zero.
        gap: an upper bound of the duality gap, and so of what the objective lies above its minimum; rounding,
            that of centring included, is part of it. With an intercept it is the gap of the coefficients with
            the intercept that suits them best; the given one is that but for its own rounding.
        n_iter: coordinate descent sweeps.
        converged: ``gap <= tol * ||y||**2 / samples``, y centred where there is an intercept; with ``k`` also
            that the path did not end by rounding before there were k.
    """

    coef: Floats
    intercept: Any
    alpha: Any
    alpha_max: Any
    gap: Any
    n_iter: Any
    converged: Any

    def __repr__(self) -> str:
        return f"Lasso({'; '.join(f'{name}: {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_repr.block("Lasso", html_repr.facts(self._facts()))

    def _facts(self) -> list[tuple[str, object]]:
        targets = 1 if self.coef.ndim == 1 else len(self.coef)
        alphas, largest = np.atleast_1d(self.alpha), float(np.max(self.gap))
        alpha = f"{alphas[0]:.4g}" if np.ptp(alphas) == 0 else f"{alphas.min():.4g} to {alphas.max():.4g}"
        return [
            ("targets", targets),
            ("alpha", alpha),
            ("non-zeros", f"{np.count_nonzero(self.coef)} of {self.coef.size}"),
            ("largest gap", f"{largest:.2g}"),
            ("converged", f"{np.count_nonzero(self.converged)} of {targets}"),
        ]


@dataclass(frozen=True, repr=False)
class LassoPath:
    """Solutions at descending penalties, shaped as those of ``sklearn.linear_model.lasso_path``.

    Attributes:
        alphas: float64, shape (A,), descending.
        coefs: float64, shape (features, A).
        alpha_max: from there on all coefficients are zero.
        gaps: float64, shape (A,): upper bounds of the duality gaps, rounding included.
        n_iter: int64, shape (A,): coordinate descent sweeps.
        converged: bool, shape (A,): ``gap <= tol * ||y||**2 / samples``.
    """

    alphas: Floats
    coefs: Floats
    alpha_max: float
    gaps: Floats
    n_iter: Integers
    converged: npt.NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"LassoPath({'; '.join(f'{name}: {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_repr.block("Lasso path", html_repr.facts(self._facts()))

    def _facts(self) -> list[tuple[str, object]]:
        return [
            ("alphas", f"{len(self.alphas)} from {self.alphas[0]:.4g} to {self.alphas[-1]:.4g}"),
            ("non-zeros at the last", f"{np.count_nonzero(self.coefs[:, -1])} of {len(self.coefs)}"),
            ("largest gap", f"{self.gaps.max():.2g}"),
            ("converged", f"{np.count_nonzero(self.converged)} of {len(self.alphas)}"),
        ]


def lasso(
    x: Any,
    y: Any,
    *,
    alpha: float | None = None,
    alpha_ratio: float | None = None,
    k: int | None = None,
    tol: float = 1e-6,
    fit_intercept: bool = False,
    max_iter: int = 10_000,
) -> Lasso:
    """Minimise scikit-learn's ``1 / (2 samples) ||y - x w||**2 + alpha ||w||_1``.

    Args:
        x: samples x features: numpy array or torch CPU tensor, float64, float32, float16 or bfloat16, any
            strides. Column-major float64 is read in place.
        y: of the same kinds: (samples,) or (samples, targets).
        alpha: the penalty, positive. Exactly one of ``alpha``, ``alpha_ratio`` and ``k`` is given.
        alpha_ratio: the penalty as a share of alpha_max, of each target's own.
        k: the number of features wanted, at least 1: alpha is the geometric middle of the lowest interval of
            alphas with k non-zeros before there are more (half its upper end where it reaches down to 0).
            Where no alpha has exactly k, the next larger number that occurs; where fewer can enter, as many
            as can. The exact path says which features are in and with which signs; their coefficients are
            solved for in closed form, without sweeps. Of exact copies one at most is in. One target and no
            intercept; the Gram matrix of all features is formed.
        tol: converged is a gap of at most ``tol * ||y||**2 / samples``, y centred where there is an
            intercept; between 0 and 1.
        fit_intercept: centre x and y, in float64, as they are read; several targets are then solved one after
            the other.
        max_iter: sweeps after which a solution that has not converged is given back as it is.

    One target, or an intercept: coordinate descent on a growing working set of features with its own Gram
    matrix, Newton steps on the support's signs; the certificate comes from the explicit residual in float64.
    Several targets without an intercept share one Gram matrix of all features, from which the certificate
    comes too. Features of norm zero have coefficient 0. The same bits for any number of threads.

    Returns:
        A solution with its gap. One that has not converged says so: ``max_iter`` was reached, or rounding
        alone exceeds the tolerance.

    Raises:
        ValueError: no matrix, no elements, other numbers of rows, NaN/Inf (named with row and column), not
            exactly one of the penalties, one that is not positive, tol outside (0, 1), max_iter below 1, k
            with several targets or an intercept; numbers that float64 cannot hold: ||y||**2 outside 2**-960
            .. 2**960, for several targets also the squared norm of a column of x, for one a column of x too
            small beside the largest, and an alpha, alpha_max or coefficient beyond float64.
        TypeError: not an array, another dtype, a CUDA tensor, k or max_iter that are no integers, alpha,
            alpha_ratio or tol that are no numbers.
    """
    if sum(value is not None for value in (alpha, alpha_ratio, k)) != 1:
        raise ValueError(
            "give exactly one of alpha, alpha_ratio and k, "
            f"got alpha={alpha!r}, alpha_ratio={alpha_ratio!r}, k={k!r}"
        )
    tol = as_tolerance(tol)
    most = as_integer(max_iter, "max_iter")
    targets, single = as_columns(y)
    relative = alpha is None
    if k is not None:
        if not single or fit_intercept:
            raise ValueError("k takes a y of one dimension and no intercept; centre x and y beforehand")
        return _with_features(x, targets, as_integer(k, "k"), tol, most)
    name, given = ("alpha", alpha) if alpha is not None else ("alpha_ratio", alpha_ratio)
    penalty = as_number(given, name)

    def one(target: Any) -> Lasso:
        found = _core.lasso_path(x, target, [penalty], relative, fit_intercept, tol, most)
        return Lasso(
            coef=found["coefs"][0],
            intercept=float(found["intercepts"][0]),
            alpha=float(found["alphas"][0]),
            alpha_max=found["alpha_max"],
            gap=float(found["gaps"][0]),
            n_iter=int(found["n_iter"][0]),
            converged=bool(found["converged"][0]),
        )

    if single:
        return one(targets)
    if fit_intercept and targets.shape[1] > 0:
        each = [one(targets[:, index : index + 1]) for index in range(targets.shape[1])]
        return Lasso(*(np.array([getattr(found, item.name) for found in each]) for item in fields(Lasso)))
    penalties = np.full(targets.shape[1], penalty)
    coef, _, alphas, alpha_max, gap, sweeps, converged = _core.lasso_targets(
        x, targets, penalties, relative, tol, most
    )
    return Lasso(
        coef=coef.reshape(len(penalties), -1),
        intercept=np.zeros(len(penalties)),
        alpha=alphas,
        alpha_max=alpha_max,
        gap=gap,
        n_iter=sweeps,
        converged=converged,
    )


def lasso_path(
    x: Any,
    y: Any,
    *,
    alphas: Any = None,
    n_alphas: int = 100,
    eps: float = 1e-3,
    tol: float = 1e-6,
    max_iter: int = 10_000,
) -> LassoPath:
    """Solutions of `lasso` at many penalties, each started from the one before.

    Args:
        x: as in `lasso`.
        y: (samples,).
        alphas: penalties, positive, in any order; by default ``n_alphas`` from alpha_max down to ``eps *
            alpha_max`` in equal ratios, as scikit-learn's.
        n_alphas: their number, at least 1.
        eps: the smallest penalty as a share of alpha_max, between 0 and 1.
        tol: as in `lasso`.
        max_iter: sweeps for each penalty.

    The working set of one penalty is that of the one before and what the sequential strong rule adds; what
    the rule misses shows in the certificate and follows.

    Raises:
        ValueError: as `lasso`; alphas that are no vector or empty, n_alphas below 1, eps outside (0, 1).
        TypeError: as `lasso`.
    """
    targets, single = as_columns(y)
    if not single:
        raise ValueError("y must have one dimension, as a path has one target")
    tol = as_tolerance(tol)
    if alphas is None:
        count = as_integer(n_alphas, "n_alphas")
        if count < 1:
            raise ValueError(f"n_alphas must be at least 1, got {count}")
        if not 0 < as_number(eps, "eps") < 1:
            raise ValueError(f"eps must lie between 0 and 1, got {eps}")
        wanted = np.geomspace(1.0, eps, count)
    else:
        try:
            wanted = np.asarray(alphas).astype(np.float64, casting="same_kind")
        except TypeError:
            raise TypeError(f"alphas must be numbers, got {alphas!r}") from None
        if wanted.ndim != 1 or wanted.size == 0:
            raise ValueError(f"alphas must be one-dimensional and not empty, got shape {wanted.shape}")
        wanted = np.sort(wanted)[::-1]
    found = _core.lasso_path(
        x, targets, wanted.tolist(), alphas is None, False, tol, as_integer(max_iter, "max_iter")
    )
    return LassoPath(
        alphas=found["alphas"],
        coefs=found["coefs"].T,
        alpha_max=found["alpha_max"],
        gaps=found["gaps"],
        n_iter=found["n_iter"],
        converged=found["converged"],
    )


def _with_features(x: Any, y: Any, k: int, tol: float, max_iter: int) -> Lasso:
    """The solution with k non-zeros."""
    chosen = _support_with(x, y, k)
    coef, _, alpha, alpha_max, gap, _, converged = _core.lasso_on_support(x, y, chosen.signed, tol, max_iter)
    return Lasso(
        coef=coef,
        intercept=0.0,
        alpha=float(alpha[0]),
        alpha_max=float(alpha_max[0]),
        gap=float(gap[0]),
        n_iter=0,
        converged=bool(converged[0]) and chosen.reached,
    )


def _support_with(x: Any, y: Any, k: int) -> ChosenSupport:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")

    def path(most_nonzeros: int) -> Knots:
        alphas, events, _, _, end, signs = _core.lasso_homotopy(x, y, _MOST_EVENTS, most_nonzeros, False)
        return alphas, events, end, signs

    features = x.shape[1] if getattr(x, "ndim", 0) == 2 else k  # the core refuses what is no matrix
    return support_with(k, max(1, features), path)
