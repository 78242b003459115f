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

_PANEL = 32
"""Columns of a block of the factor's update."""


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

    A token costs O(dimensions^2), through the triangular factor of the tokens above sqrt(ridge) times the
    identity, which orthogonal transformations update (LAPACK's tpqrt). The gain is good to a few rounding
    errors of itself, times ``sqrt(largest eigenvalue of Z'Z / ridge)``, whatever the rank of the tokens.
    Memory is 8 * dimensions^2 bytes.

    Args:
        dimensions: of every token.
        ridge: above 0.
    """

    def __init__(self, dimensions: int, ridge: float) -> None:
        self._dimensions = whole("dimensions", dimensions, 1)
        self._ridge = positive("ridge", ridge)
        self._tokens = 0
        self._total = 0.0
        self._squares = 0.0
        self._triangle = np.asfortranarray(math.sqrt(self._ridge) * np.eye(self._dimensions))

    def add(self, token: Any) -> InformationGain:
        """Gain of ``token``, shape (dimensions,), which then is part of the context.

        On an error nothing is added.

        Raises:
            ValueError: as :func:`lmscope.information_gain`, and where the ridge is below the rounding of the
                tokens, 5e-32 times the sum of their squared norms.
            TypeError: as there.
        """
        z = vector("token", token, length=self._dimensions)
        with np.errstate(over="ignore"):
            squares = self._squares + float(z @ z)
        least = np.finfo(np.float64).eps ** 2 * squares
        if self._ridge < least:
            raise ValueError(
                f"ridge must be at least {least:.3g} beside tokens whose squared norms add up to "
                f"{squares:.3g}, as less is lost in rounding, got {self._ridge:g}"
            )
        half = _solve(self._triangle, z, transposed=True)
        objective = self._ridge * float(half @ half)
        residual = float(np.sum((self._ridge * _solve(self._triangle, half)) ** 2))
        found = _gain(objective, residual, self._ridge, self._total, self._tokens, self._dimensions)
        self._triangle = _updated(self._triangle, z)
        self._squares = squares
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


def _updated(triangle: Floats, row: Floats) -> Floats:
    """Triangular factor with one more row below; overwrites the old one."""
    from scipy.linalg.lapack import dtpqrt

    panel = min(_PANEL, len(triangle))
    new: Floats = dtpqrt(0, panel, triangle, row[None].copy(order="F"), overwrite_a=1, overwrite_b=1)[0]
    return new


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
