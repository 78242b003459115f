"""Infinitely many tasks: the exact test loss of linear attention, its best weights, their Boltzmann law.

Context and query are independent given the teacher, and the query does not depend on the teacher: the Gram
matrix of the features is a Kronecker product, and every answer costs O(dimension^3). Where the tokens of a
prompt are correlated it is not: a loss costs O(dimension^4) then, ground states and marginals O(dimension^6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import not_negative, of_shape, positive
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.modes import Modes
from lmscope.spin_glass.own_tasks import require_law
from lmscope.spin_glass.shared_law import TeacherMoments, shared_dependence, shared_field, shared_gram
from lmscope.spin_glass.task_law import Tasks

__all__ = ["Population", "population", "square_weights"]

Floats = npt.NDArray[np.float64]

# Matrices, dimension x dimension: moments, the Gram matrix of contexts and what they are multiplied in.
_COPIES = 6


@dataclass(frozen=True, eq=False, repr=False)
class Population:
    """Moments of one law of tasks.

    The Gram matrix A of the features is context_gram (Kronecker) query_covariance, for the spins (m, n) and
    (k, l) ``context_gram[m, k] * query_covariance[n, l]``, plus ``dependence``.

    Attributes:
        context_gram: (dimension + 1) x (dimension + 1), expectation of context context'.
        query_covariance: dimension x dimension.
        field: (dimension + 1) x dimension, expectation of target context query'.
        target_power: expectation of the squared target: the loss of all-zero weights.
        dependence: spins x spins, spins = dimension * (dimension + 1): what A has beyond the Kronecker
            product where the tokens of a prompt, the query with them, are correlated; None elsewhere.
    """

    context_gram: Floats
    query_covariance: Floats
    field: Floats
    target_power: float
    dependence: Floats | None = None

    def __repr__(self) -> str:
        return f"Population(dimension={self.dimension}, best_loss={self.best_loss:.4g})"

    def _repr_html_(self) -> str:
        pairs = [
            ("dimension", self.dimension),
            ("loss of all-zero weights", html_repr.number(self.target_power)),
            ("least loss", html_repr.number(self.best_loss)),
        ]
        return html_repr.block("Infinitely many tasks", html_repr.facts(pairs))

    @property
    def dimension(self) -> int:
        return len(self.query_covariance)

    def loss(self, weights: Any) -> float:
        """Expected squared error, on new prompts, of linear attention with these weights,
        (dimension + 1) x (dimension + 1); exact.

        Raises:
            ValueError, TypeError: weights of another shape or dtype, or not finite.
        """
        read = square_weights(weights, self.dimension)[:, :-1]
        power = np.vdot(self.context_gram @ read @ self.query_covariance, read)
        if self.dependence is not None:
            power += read.ravel() @ self.dependence @ read.ravel()
        return float(self.target_power - 2 * np.vdot(self.field, read) + power)

    def ground_state(self, regularization: float = 0.0) -> Floats:
        """The weights of least energy W'(A + regularization)W / 2 - h'W, (dimension + 1) x (dimension + 1);
        those of least norm where ``regularization`` is 0 and the energy does not determine them.

        Raises:
            ValueError: ``regularization`` below 0, or not enough memory for the modes of correlated tokens.
        """
        regularization = not_negative("regularization", regularization)
        if self.dependence is not None:
            return self._modes.ground_state(regularization)
        modes = self._mode_values + regularization
        context, query, _, _ = self._rotations
        rotated = context.T @ self.field @ query
        rotated = np.divide(rotated, modes, out=np.zeros_like(modes), where=modes > 0)
        weights = context @ rotated @ query.T
        return np.pad(weights, ((0, 0), (0, 1)))

    @cached_property
    def best_loss(self) -> float:
        """The least expected squared error that any weights have."""
        return self.loss(self.ground_state())

    def marginals(self, regularization: float, inverse_temperature: float) -> tuple[Floats, Floats]:
        """Mean and variance of every weight under exp(-inverse_temperature * energy), both (dimension + 1) x
        (dimension + 1); the free last column has variance 1 / (inverse_temperature * regularization).

        Raises:
            ValueError: one of the two not above 0, or not enough memory for the modes of correlated tokens.
        """
        regularization = positive("regularization", regularization)
        inverse_temperature = positive("inverse_temperature", inverse_temperature)
        if self.dependence is not None:
            variance = self._modes.variances(regularization, inverse_temperature)
            return self.ground_state(regularization), variance
        modes = 1 / (self._mode_values + regularization)
        left, right = np.square(self._rotations[0]), np.square(self._rotations[1])
        variance = np.pad(left @ modes @ right.T, ((0, 0), (0, 1)), constant_values=1 / regularization)
        return self.ground_state(regularization), variance / inverse_temperature

    @cached_property
    def _modes(self) -> Modes:
        """Of A as a whole, for tasks whose A is no Kronecker product."""
        check_memory(
            f"the modes of tasks with correlated tokens, dimension {self.dimension},",
            gram_bytes(self.dimension, 4),
            "take a smaller dimension",
        )
        gram = np.kron(self.context_gram, self.query_covariance)
        if self.dependence is not None:
            gram += self.dependence
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1], vectors[:, ::-1]
        bounds = np.full(len(values), len(values) * np.finfo(np.float64).eps * values[0])
        return Modes(values, bounds, vectors, self.field.ravel() @ vectors, self.dimension)

    @cached_property
    def _rotations(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Eigenvectors of both factors, then their eigenvalues."""
        context_values, context = np.linalg.eigh(self.context_gram)
        query_values, query = np.linalg.eigh(self.query_covariance)
        return context, query, context_values, query_values

    @cached_property
    def _mode_values(self) -> Floats:
        """Eigenvalues of A; what rounding alone can account for is 0, without which 1 / it would be noise."""
        _, _, context, query = self._rotations
        values: Floats = np.outer(context, query)
        values[values <= len(context) * np.finfo(np.float64).eps * values.max()] = 0.0
        return values


def population(tasks: Tasks, *, teachers: Literal["unseen", "seen"] = "unseen") -> Population:
    """Expectations over all prompts and queries of the law of ``tasks``, whatever their number.

    Args:
        tasks: of :func:`make_tasks`.
        teachers: ``"unseen"``: over all teachers of the law, too; of low rank, those of the tasks' subspace.
            ``"seen"``: over the teachers that the tasks have, each as often as they have it.

    Raises:
        ValueError: another word, or matrices that do not fit in memory.
        TypeError: arrays, which have no law.
    """
    require_law(tasks)
    if teachers not in ("unseen", "seen"):
        raise ValueError(f"teachers must be 'unseen' or 'seen', got {teachers!r}")
    if tasks.shares_tokens:
        return _of_shared_tokens(tasks, seen=teachers == "seen")
    size, length = tasks.dimension, tasks.prompt_length
    check_memory(f"moments of dimension {size}", 8 * _COPIES * size**2, "take a smaller dimension")
    covariance = np.full((size, size), tasks.correlation if tasks.correlated == "coordinates" else 0.0)
    np.fill_diagonal(covariance, 1.0)
    moments = (_seen_moments if teachers == "seen" else _law_moments)(tasks, covariance)
    outer = covariance @ moments.outer @ covariance
    target_power = float(np.vdot(covariance, moments.outer))
    scale = length / (length + (tasks.normalization == "columns"))
    label = covariance @ moments.cubic
    gram = np.empty((size + 1, size + 1))
    gram[:-1, :-1] = target_power * covariance / length + (1 + 1 / length) * outer
    gram[:-1, -1] = gram[-1, :-1] = (1 + 2 / length) * label
    gram[-1, -1] = (1 + 2 / length) * moments.quartic
    return Population(gram * scale**2, covariance, np.vstack([outer, label]) * scale, target_power)


def _of_shared_tokens(tasks: Tasks, *, seen: bool) -> Population:
    size, length, correlation = tasks.dimension, tasks.prompt_length, tasks.correlation
    check_memory(
        f"the Gram matrix of tasks with correlated tokens, dimension {size},",
        gram_bytes(size),
        "take a smaller dimension",
    )
    if seen:
        moments = _seen_higher_moments(tasks)
    else:
        lower = _law_moments(tasks, np.eye(size))
        # Every law here has E |a|^2 aa' along E aa', whose trace is 1, and no odd moments.
        moments = TeacherMoments(lower.outer, np.zeros((size, size, size)), lower.quartic * lower.outer)
    scale = length / (length + (tasks.normalization == "columns"))
    dependence = shared_dependence(moments, length, correlation)
    dependence *= scale**2
    return Population(
        shared_gram(moments, length, correlation) * scale**2,
        np.eye(size),
        shared_field(moments, correlation) * scale,
        float(np.trace(moments.second)),
        dependence,
    )


def _seen_higher_moments(tasks: Tasks) -> TeacherMoments:
    size = tasks.dimension
    second, fourth, third = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, size**2))
    for teachers in tasks.teachers():
        scaled = teachers / math.sqrt(size)
        pairs = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), -1)
        second += scaled.T @ scaled
        third += scaled.T @ pairs
        fourth += (scaled.T * np.einsum("ij,ij->i", scaled, scaled)) @ scaled
    return TeacherMoments(
        second / tasks.tasks, (third / tasks.tasks).reshape(size, size, size), fourth / tasks.tasks
    )


@dataclass(frozen=True)
class _Moments:
    """Of teachers a = w / sqrt(dimension), with t2 = a' covariance a."""

    outer: Floats
    """Expectation of aa', dimension x dimension."""
    cubic: Floats
    """Expectation of t2 a, (dimension,)."""
    quartic: float
    """Expectation of t2 squared."""


def _law_moments(tasks: Tasks, covariance: Floats) -> _Moments:
    size = tasks.dimension
    odd = np.zeros(size)
    if tasks.teacher == "low_rank":
        rank = tasks.subspace.shape[1]
        seen = tasks.subspace.T @ covariance @ tasks.subspace / rank
        return _Moments(tasks.subspace @ tasks.subspace.T / rank, odd, _gaussian_quartic(seen))
    if tasks.teacher == "dense":
        return _Moments(np.eye(size) / size, odd, _gaussian_quartic(covariance / size))
    active = tasks.teacher_size or 0
    # E a_i^4, and E a_i^2 a_j^2: the chances that one, and two, given coordinates are active, times moments.
    fourth = 3 / (active * size)
    pair = (active - 1) / (active * size * (size - 1)) if size > 1 else 0.0
    diagonal = np.square(np.diagonal(covariance)).sum()
    pairs = np.trace(covariance) ** 2 + 2 * np.square(covariance).sum() - 3 * diagonal
    return _Moments(np.eye(size) / size, odd, float(fourth * diagonal + pair * pairs))


def _gaussian_quartic(covariance: Floats) -> float:
    """E (z'Kz)^2 of standard normal z."""
    return float(np.trace(covariance) ** 2 + 2 * np.square(covariance).sum())


def _seen_moments(tasks: Tasks, covariance: Floats) -> _Moments:
    size = tasks.dimension
    outer, cubic, quartic = np.zeros((size, size)), np.zeros(size), 0.0
    for teachers in tasks.teachers():
        scaled = teachers / math.sqrt(size)
        power = np.einsum("ij,ij->i", scaled @ covariance, scaled)
        outer += scaled.T @ scaled
        cubic += power @ scaled
        quartic += float(power @ power)
    return _Moments(outer / tasks.tasks, cubic / tasks.tasks, quartic / tasks.tasks)


def square_weights(weights: Any, dimension: int | None = None) -> Floats:
    """Weights of linear attention in float64, (dimension + 1) x (dimension + 1), at least 2 x 2.

    Raises:
        ValueError, TypeError: another shape or dtype, or not finite.
    """
    side = None if dimension is None else dimension + 1
    given = of_shape("weights", weights, (side, side), "(dimension + 1) x (dimension + 1)")
    if given.shape[0] != given.shape[1] or len(given) < 2:
        raise ValueError(f"weights must be (dimension + 1) x (dimension + 1), got shape {given.shape}")
    return given
