"""How well chosen tokens explain a token: ridge regression, information gain, cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses import intake
from lmscope.analyses.token_selection import Selections, unit_rows

__all__ = ["SelectionScore", "SelectionScores", "score_selection", "score_selections"]

_STACK_BYTES = 32 << 20

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class SelectionScore:
    """How well tokens S explain token z: ridge regression ``min over w of ||z - S'w||^2 + ridge ||w||^2``.

    Attributes:
        ridge_objective: that minimum.
        ridge_residual: ``||z - S'w||^2`` at the minimum; 1 for a unit row and an empty set.
        information_gain: ``log(1 + ridge_objective / ridge)``, nats: what z adds to S. Lower is better.
        cosine: of z and the fitted S'w; NaN where that is zero, as for an empty set.
    """

    ridge_objective: float
    ridge_residual: float
    information_gain: float
    cosine: float

    def __repr__(self) -> str:
        return (
            f"SelectionScore(ridge_residual={self.ridge_residual:.6g}, "
            f"information_gain={self.information_gain:.6g}, cosine={self.cosine:.6g})"
        )

    def _repr_html_(self) -> str:
        names = {
            "ridge_objective": "ridge objective",
            "ridge_residual": "squared residual",
            "information_gain": "information gain, nats",
            "cosine": "cosine of token and fit",
        }
        facts = [(words, html_repr.number(getattr(self, name))) for name, words in names.items()]
        return html_repr.block("How well the tokens explain it", html_repr.facts(facts))


@dataclass(frozen=True, repr=False)
class SelectionScores:
    """The scores of :class:`SelectionScore` for all of :class:`Selections`.

    Attributes:
        ridge_objective, ridge_residual, information_gain, cosine: for each method float64, positions x ks.
        ridge: what they were taken with.
    """

    ridge_objective: dict[str, Floats]
    ridge_residual: dict[str, Floats]
    information_gain: dict[str, Floats]
    cosine: dict[str, Floats]
    ridge: float

    def __repr__(self) -> str:
        shape = next(iter(self.cosine.values())).shape if self.cosine else (0, 0)
        return f"SelectionScores({len(self.cosine)} methods, {shape[0]} positions, {shape[1]} budgets)"

    def _repr_html_(self) -> str:
        rows = [
            (method, *(html_repr.number(float(mean)) for mean in residual.mean(axis=0)))
            for method, residual in self.ridge_residual.items()
            if residual.size
        ]
        width = len(rows[0]) - 1 if rows else 0
        return html_repr.block(
            "Mean squared residual of ridge regression, a column for each budget",
            html_repr.table(("method", *("",) * width), rows),
        )


def score_selection(
    states: Any,
    position: int,
    chosen: npt.ArrayLike,
    *,
    ridge: float = 0.01,
    normalize_rows: bool = True,
    center: bool = False,
) -> SelectionScore:
    """How well the tokens ``chosen`` explain the one at ``position``.

    Args:
        states: tokens x dimensions, one passage; numpy array or torch tensor.
        position: the token explained.
        chosen: indices of other tokens.
        ridge: above 0, in units of the rows' squared norm, 1 with ``normalize_rows``.
        normalize_rows, center: as in :func:`lmscope.select_tokens`.

    Raises:
        ValueError: indices out of range or the position itself among them, NaN/Inf, a ridge out of range.
        TypeError: another dtype.
    """
    rows = unit_rows(states, normalize_rows=normalize_rows, center=center)
    indices = np.unique(np.asarray(chosen, dtype=np.int64))
    at = intake.whole("position", position, 0)
    for index in (at, *indices):
        if not 0 <= index < len(rows):
            raise ValueError(f"tokens must be from 0 to {len(rows) - 1}, got {index}")
    if at in indices:
        raise ValueError(f"position {at} is among the tokens that are to explain it")
    gram = rows @ rows.T
    found = _scores(gram, [at], [indices], intake.positive("ridge", ridge))
    return SelectionScore(*(float(values[0]) for values in found))


def score_selections(states: Any, selections: Selections, *, ridge: float = 0.01) -> SelectionScores:
    """:func:`score_selection` of every set, from one Gram matrix; states are prepared as for the selection.

    Raises:
        ValueError, TypeError: as :func:`score_selection`.
    """
    rows = unit_rows(states, normalize_rows=selections.normalize_rows, center=selections.center)
    strength = intake.positive("ridge", ridge)
    gram = rows @ rows.T
    at = [int(position) for position in selections.positions for _ in selections.ks]
    shape = (len(selections.positions), len(selections.ks))
    by_score: tuple[dict[str, Floats], ...] = ({}, {}, {}, {})
    for method, by_position in selections.sets.items():
        sets = [by_k[k] for by_k in by_position for k in selections.ks]
        for into, values in zip(by_score, _scores(gram, at, sets, strength), strict=True):
            into[method] = values.reshape(shape)
    objective, residual, gain, cosine = by_score
    return SelectionScores(objective, residual, gain, cosine, strength)


def _scores(
    gram: Floats, at: Sequence[int], sets: Sequence[Indices], ridge: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Objective, squared residual, gain and cosine; sets of one size are solved side by side."""
    positions = np.array(at, dtype=np.int64)
    own = gram[positions, positions]
    residual, penalty = own.copy(), np.zeros(len(positions))
    cosine = np.full(len(positions), np.nan)
    sizes = np.array([len(indices) for indices in sets], dtype=np.int64)
    for size in np.unique(sizes[sizes > 0]):
        same = np.flatnonzero(sizes == size)
        stack = max(1, _STACK_BYTES // (8 * int(size) ** 2))
        for start in range(0, len(same), stack):
            some = same[start : start + stack]
            indices = np.array([sets[number] for number in some])
            inner = gram[indices[:, :, None], indices[:, None, :]]
            outer = gram[indices, positions[some, None]]
            weights = np.linalg.solve(inner + ridge * np.eye(int(size)), outer[:, :, None])[:, :, 0]
            fitted = np.sum(weights * (inner @ weights[:, :, None])[:, :, 0], axis=1)
            along = np.sum(weights * outer, axis=1)
            residual[some] = np.maximum(own[some] - 2 * along + fitted, 0.0)
            penalty[some] = ridge * np.sum(weights**2, axis=1)
            scale = np.sqrt(np.maximum(fitted * own[some], 0.0))
            cosine[some] = np.divide(along, scale, out=np.full(len(some), np.nan), where=scale > 0)
    objective = residual + penalty
    return objective, residual, np.log1p(objective / ridge), np.clip(cosine, -1.0, 1.0)
