"""Every token of a sequence as a sparse combination of those before it: Lasso problems on one Gram matrix."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr
from lmscope.kernels.lasso_arguments import as_number, as_tolerance
from lmscope.kernels.lasso_homotopy import ChosenSupport, Knots, as_integer, as_positions, support_with

__all__ = ["PrefixLasso", "prefix_lasso"]

Floats = npt.NDArray[np.float64]

_MOST_EVENTS = 1_000_000


@dataclass(frozen=True, repr=False)
class PrefixLasso:
    """One Lasso solution per position.

    Attributes:
        positions: int64, shape (P,).
        coef: one float64 array per position, of length ``positions[i]``: the weight of each token before it.
        alpha: float64, shape (P,): the penalty of each position.
        alpha_max: float64, shape (P,): from there on all coefficients are zero.
        gap: float64, shape (P,): an upper bound of the duality gap, and so of what the objective lies above
            its minimum. Rounding, that of the Gram matrix included, is part of it.
        n_iter: int64, shape (P,): coordinate descent sweeps.
        converged: bool, shape (P,): ``gap <= tol * ||token||**2 / dimensions``; with ``k`` also that the
            path did not end by rounding before there were k.
    """

    positions: npt.NDArray[np.int64]
    coef: list[Floats]
    alpha: Floats
    alpha_max: Floats
    gap: Floats
    n_iter: npt.NDArray[np.int64]
    converged: npt.NDArray[np.bool_]

    @property
    def nonzeros(self) -> npt.NDArray[np.int64]:
        """How many tokens have a weight at each position, an int64 array of shape (P,)."""
        return np.array([np.count_nonzero(coef) for coef in self.coef], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return (
            f"PrefixLasso({len(self)} positions, {self.nonzeros.mean():.3g} non-zeros each, "
            f"{np.count_nonzero(self.converged)} converged)"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Lasso of {len(self)} positions on their prefixes",
            html_repr.facts(
                [
                    ("non-zeros, mean", f"{self.nonzeros.mean():.3g}"),
                    ("converged", int(np.count_nonzero(self.converged))),
                    ("largest gap", f"{self.gap.max():.2g}"),
                    ("sweeps, mean", f"{self.n_iter.mean():.3g}"),
                ]
            ),
        )


def prefix_lasso(
    tokens: Any,
    *,
    alpha: float | None = None,
    alpha_ratio: float | None = None,
    k: int | None = None,
    positions: Any = None,
    tol: float = 1e-6,
    max_iter: int = 10_000,
) -> PrefixLasso:
    """For each position t the Lasso of token t on tokens 0 .. t - 1, all from one Gram matrix.

    Minimises scikit-learn's ``1 / (2 dimensions) ||token_t - sum_j w_j token_j||**2 + alpha |w|_1``; the
    samples are the dimensions, there is no intercept.

    Args:
        tokens: tokens x dimensions: numpy array or torch CPU tensor, float64, float32, float16 or bfloat16,
            any strides. Neither centred nor scaled here.
        alpha: the penalty, positive. Exactly one of ``alpha``, ``alpha_ratio`` and ``k`` is given.
        alpha_ratio: the penalty as a share of each position's own ``alpha_max``.
        k: the number of tokens wanted, at least 1: alpha is the geometric middle of the lowest interval of
            alphas with k non-zeros before there are more (half its upper end where it reaches down to 0).
            Where no alpha has exactly k, the next larger number that occurs; where fewer can enter, as many
            as can. The exact path says which tokens are in and with which signs; their weights are solved
            for in closed form, without sweeps. Of exact copies one at most is in.
        positions: integers between 1 and tokens - 1, in any order; all of them by default.
        tol: a position has converged when its gap is at most ``tol * ||token||**2 / dimensions``.
        max_iter: sweeps after which a position that has not converged is given back as it is.

    Coordinate descent on working sets of violating tokens, with gap-safe screening and Newton steps on the
    active tokens' signs; the gap is that of the whole problem, from products recomputed in float64. Zero
    tokens have coefficient 0. The same bits for any number of threads.

    Returns:
        Solutions with their gaps. A position that has not converged says so: ``max_iter`` was reached, or
        rounding alone exceeds the tolerance.

    Raises:
        ValueError: not 2-D, fewer than two tokens, NaN/Inf (named with row and column), a row whose squared
            norm lies outside 2**-960 .. 2**960, not exactly one of the penalties, one that is not positive,
            positions out of range, tol outside (0, 1), max_iter below 1, alpha_ratio times alpha_max beyond
            float64.
        TypeError: not an array, another dtype, a CUDA tensor, positions, k or max_iter that are no integers,
            alpha, alpha_ratio or tol that are no numbers.
    """
    if sum(value is not None for value in (alpha, alpha_ratio, k)) != 1:
        raise ValueError(
            "give exactly one of alpha, alpha_ratio and k, "
            f"got alpha={alpha!r}, alpha_ratio={alpha_ratio!r}, k={k!r}"
        )
    where = as_positions(tokens, positions)
    tol = as_tolerance(tol)
    most = as_integer(max_iter, "max_iter")
    if k is not None:
        chosen = _supports_with(tokens, as_integer(k, "k"), where)
        batch = _core.lasso_prefixes_on_supports(tokens, where, [one.signed for one in chosen], tol, most)
        reached = np.array([one.reached for one in chosen])
    else:
        name, given = ("alpha", alpha) if alpha is not None else ("alpha_ratio", alpha_ratio)
        penalties = np.full(len(where), as_number(given, name))
        batch = _core.lasso_prefixes(tokens, where, penalties, alpha is None, tol, most)
        reached = np.ones(len(where), dtype=bool)
    coef, offsets, alphas, alpha_max, gap, sweeps, converged = batch
    return PrefixLasso(
        positions=where,
        coef=[coef[first:last] for first, last in itertools.pairwise(offsets)],
        alpha=alphas,
        alpha_max=alpha_max,
        gap=gap,
        n_iter=sweeps,
        converged=converged & reached,
    )


def _supports_with(tokens: Any, k: int, positions: npt.NDArray[np.int64]) -> list[ChosenSupport]:
    """For each position the tokens that are in where there are k."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    first = _core.lasso_prefix_homotopy(tokens, positions.tolist(), _MOST_EVENTS, k)

    def chosen(place: int, position: int) -> ChosenSupport:
        def path(most: int) -> Knots:
            if most == min(k, position):
                found = first[place]
            else:
                (found,) = _core.lasso_prefix_homotopy(tokens[: position + 1], [position], _MOST_EVENTS, most)
            return found[0], found[1], found[4], found[5]

        return support_with(k, position, path)

    return [chosen(place, position) for place, position in enumerate(positions.tolist())]
