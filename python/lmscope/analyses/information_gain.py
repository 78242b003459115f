"""What a new token adds to its context: log-determinant gain, ridge regression, and what they are not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import positive, states, vector, whole

__all__ = ["InformationGain", "SequenceGain", "information_gain", "sequence_gains"]

Floats = npt.NDArray[np.float64]

_DRIFT = 1e-8
"""Relative correction of a solve at which the inverse is computed anew."""


@dataclass(frozen=True, repr=False)
class InformationGain:
    """Five quantities of a token z after n tokens Z (n x d), with ridge r; all but the two of regression in
    nats.

    Attributes:
        gain: ``log det(r I + Z'Z + z z') - log det(r I + Z'Z)``, which is ``log(1 + ridge_objective / r)``.
        mutual_information: of Gaussian variables, half the gain.
        ridge_objective: ``min over w of ||z - Z'w||^2 + r ||w||^2``.
        residual_norm2: ``||z - Z'w||^2`` at that w, smaller than the objective.
        coding_length_increment:
            ``(d + n + 1) / 2 * log det(I + (Z'Z + z z') / r) - (d + n) / 2 * log det(I + Z'Z / r)``, the
            coding length with the token less that without, the ridge kept.
    """

    gain: float
    mutual_information: float
    ridge_objective: float
    residual_norm2: float
    coding_length_increment: float

    def __repr__(self) -> str:
        return (
            f"InformationGain(gain={self.gain:.6g}, ridge_objective={self.ridge_objective:.6g}, "
            f"residual_norm2={self.residual_norm2:.6g})"
        )

    def _repr_html_(self) -> str:
        names = {
            "gain": "gain, nats",
            "mutual_information": "mutual information, nats",
            "ridge_objective": "ridge objective",
            "residual_norm2": "squared residual",
            "coding_length_increment": "coding length increment, nats",
        }
        facts = [(words, html_repr.number(getattr(self, name))) for name, words in names.items()]
        return html_repr.block("What the token adds", html_repr.facts(facts))


def information_gain(context: Any, new: Any, *, ridge: float) -> InformationGain:
    """Gain of ``new`` after ``context``, through a QR factor of the smaller side, without cancellation.

    Args:
        context: tokens x dimensions; no tokens are allowed.
        new: shape (dimensions,).
        ridge: above 0. The entropy's own is ``tokens * epsilon2 / dimensions``.

    Both numpy arrays or torch tensors, float64, float32, float16 or bfloat16.

    Raises:
        ValueError: shapes that do not fit, NaN/Inf, or a ridge out of range.
        TypeError: another dtype.
    """
    ridge = positive("ridge", ridge)
    z = vector("new", new)
    rows = states("context", context, dimensions=z.size, empty=True)
    tokens, dimensions = rows.shape
    if tokens <= dimensions:
        orthogonal, triangle = np.linalg.qr(_augmented(rows.T, ridge))
        weights = _solve(triangle, orthogonal[:dimensions].T @ z)
        residual = float(np.sum((z - rows.T @ weights) ** 2))
        objective = residual + ridge * float(weights @ weights)
    else:
        triangle = _triangle(rows, ridge)
        half = _solve(triangle, z, transposed=True)
        objective = ridge * float(half @ half)
        residual = ridge**2 * float(np.sum(_solve(triangle, half) ** 2))
    return _gain(objective, residual, ridge, _log_determinant(triangle, ridge), tokens, dimensions)


def sequence_gains(tokens: Any, *, ridge: float) -> Floats:
    """Gain of every token after those before it: float64, shape (tokens,), nats.

    They add up to ``log det(ridge I + Z'Z) - dimensions * log(ridge)``. All come from one triangular factor;
    for many more tokens than dimensions :class:`lmscope.SequenceGain` is cheaper.

    Raises:
        ValueError, TypeError: as :func:`lmscope.information_gain`.
    """
    ridge = positive("ridge", ridge)
    rows = states("tokens", tokens)
    triangle = _triangle(rows.T, ridge)
    gains: Floats = np.maximum(2 * np.log(np.abs(np.diag(triangle))) - math.log(ridge), 0.0)
    return gains


class SequenceGain:
    """:func:`lmscope.information_gain` of each token after those before it, as they come.

    A token costs O(tokens * (tokens + dimensions)) while there are fewer tokens than dimensions, through a
    Cholesky factor that grows by a row, and O(dimensions^2) afterwards, through an inverse that is updated.
    Every solve is corrected once from the matrix itself, and the inverse computed anew where the correction
    exceeds 1e-8, so
    that errors do not build up: the gain is good to about 1e-12 of itself, times the largest eigenvalue over
    ridge where that exceeds 1e4. Memory is a few times 8 * dimensions^2 bytes at most.

    Args:
        dimensions: of every token.
        ridge: above 0.
    """

    def __init__(self, dimensions: int, ridge: float) -> None:
        self._dimensions = whole("dimensions", dimensions, 1)
        self._ridge = positive("ridge", ridge)
        self._tokens = 0
        self._total = 0.0
        self._rows = np.empty((0, self._dimensions))
        self._factor = np.empty((0, 0))
        self._matrix = self._inverse = np.empty((0, 0))

    def add(self, token: Any) -> InformationGain:
        """Gain of ``token``, shape (dimensions,), which then is part of the context.

        On an error nothing is added.

        Raises:
            ValueError, TypeError: as :func:`lmscope.information_gain`.
        """
        z = vector("token", token, length=self._dimensions)
        add = self._add_by_tokens if self._tokens < self._dimensions else self._add_by_dimensions
        objective, residual = add(z)
        found = _gain(objective, residual, self._ridge, self._total, self._tokens, self._dimensions)
        self._tokens += 1
        self._total += found.gain
        return found

    @property
    def tokens(self) -> int:
        """Added so far."""
        return self._tokens

    @property
    def total(self) -> float:
        """Sum of all gains, ``log det(I + Z'Z / ridge)``, nats."""
        return self._total

    def _add_by_tokens(self, z: Floats) -> tuple[float, float]:
        count = self._tokens
        if count == len(self._rows):
            self._grow()
        rows, factor = self._rows[:count], self._factor[:count, :count]
        beside = _solve(factor, rows @ z, lower=True)
        weights = _solve(factor, beside, lower=True, transposed=True)
        left = z - rows.T @ weights
        correction = rows @ left - self._ridge * weights
        weights += _solve(factor, _solve(factor, correction, lower=True), lower=True, transposed=True)
        residual = float(np.sum((z - rows.T @ weights) ** 2))
        objective = residual + self._ridge * float(weights @ weights)
        self._rows[count] = z
        self._factor[count, :count] = beside
        self._factor[count, count] = math.sqrt(self._ridge + objective)
        return objective, residual

    def _grow(self) -> None:
        size = min(max(64, 2 * len(self._rows)), self._dimensions)
        rows, factor = np.zeros((size, self._dimensions)), np.zeros((size, size))
        count = self._tokens
        rows[:count], factor[:count, :count] = self._rows, self._factor
        self._rows, self._factor = rows, factor

    def _add_by_dimensions(self, z: Floats) -> tuple[float, float]:
        if not len(self._matrix):
            self._matrix = self._rows.T @ self._rows
            self._matrix[np.diag_indices(self._dimensions)] += self._ridge
            self._rows = self._factor = np.empty((0, 0))
            self._invert()
        solved, correction = self._solved(z)
        if np.linalg.norm(correction) > _DRIFT * np.linalg.norm(solved):
            self._invert()
            solved, _ = self._solved(z)
        leverage = max(float(z @ solved), 0.0)
        self._matrix += np.outer(z, z)
        self._inverse -= np.outer(solved, solved / (1 + leverage))
        return self._ridge * leverage, self._ridge**2 * float(solved @ solved)

    def _solved(self, z: Floats) -> tuple[Floats, Floats]:
        solved = self._inverse @ z
        correction = self._inverse @ (z - self._matrix @ solved)
        return solved + correction, correction

    def _invert(self) -> None:
        from scipy.linalg import cho_factor, cho_solve

        self._inverse = cho_solve(cho_factor(self._matrix), np.eye(self._dimensions))

    def __repr__(self) -> str:
        return (
            f"SequenceGain(dimensions={self._dimensions}, ridge={self._ridge:g}, tokens={self._tokens}, "
            f"total={self._total:.6g})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Information gain of a sequence",
            html_repr.facts(
                [
                    ("dimensions", self._dimensions),
                    ("ridge", html_repr.number(self._ridge)),
                    ("tokens so far", self._tokens),
                    ("total gain", f"{html_repr.number(self._total)} nats"),
                ]
            ),
        )


def _gain(
    objective: float, residual: float, ridge: float, before: float, tokens: int, dimensions: int
) -> InformationGain:
    """``before`` is log det(I + Z'Z / ridge) of the context."""
    gain = math.log1p(objective / ridge)
    increment = (dimensions + tokens + 1) / 2 * gain + before / 2
    return InformationGain(gain, gain / 2, objective, residual, increment)


def _augmented(tall: Floats, ridge: float) -> Floats:
    """Above sqrt(ridge) times the identity: its triangular factor R has R'R = A'A + ridge I."""
    return np.vstack([tall, math.sqrt(ridge) * np.eye(tall.shape[1])])


def _triangle(tall: Floats, ridge: float) -> Floats:
    from scipy.linalg import qr

    triangle: Floats = qr(_augmented(tall, ridge), mode="r", check_finite=False)[0]
    return triangle[: tall.shape[1]]


def _log_determinant(triangle: Floats, ridge: float) -> float:
    """log det(I + A'A / ridge) from the triangular factor of the augmented A."""
    diagonal = np.abs(np.diag(triangle))
    return max(0.0, float(2 * np.log(diagonal).sum()) - len(diagonal) * math.log(ridge))


def _solve(triangle: Floats, right: Floats, *, lower: bool = False, transposed: bool = False) -> Floats:
    from scipy.linalg import solve_triangular

    if not right.size:
        return right
    solved: Floats = solve_triangular(
        triangle, right, lower=lower, trans=1 if transposed else 0, check_finite=False
    )
    return solved
