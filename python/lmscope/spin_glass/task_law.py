"""Linear-regression tasks in prompts: how tokens, teachers and labels are drawn."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Prompts", "Statistics", "Tasks", "make_tasks"]

Floats = npt.NDArray[np.float64]
Teacher = Literal["dense", "sparse", "low_rank"]
Draw = Literal["prompts", "statistics"]
Normalization = Literal["prompt", "columns"]

_BLOCK = 64
"""Tasks drawn from one seed: the first tasks are the same whatever number is asked for."""

_TASKS, _UNSEEN, _TEACHERS, _SUBSPACE = range(4)


@dataclass(frozen=True, eq=False)
class Statistics:
    """All that linear attention sees of tasks: its output is ``context @ weights[:, :-1] @ query``.

    Attributes:
        context: tasks x (dimension + 1): mean over the prompt of label times (token, label).
        query: tasks x dimension: the token whose label is asked for.
        target: (tasks,): that label.
    """

    context: Floats
    query: Floats
    target: Floats

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True, eq=False)
class Prompts:
    """Tasks with their prompts.

    Attributes:
        tokens: tasks x prompt length x dimension.
        labels: tasks x prompt length.
        query: tasks x dimension.
        target: (tasks,): the label of the query.
        teachers: tasks x dimension; a label is teacher . token / sqrt(dimension).
    """

    tokens: Floats
    labels: Floats
    query: Floats
    target: Floats
    teachers: Floats

    def __len__(self) -> int:
        return len(self.target)

    def statistics(self, normalization: Normalization = "prompt") -> Statistics:
        """What linear attention sees of them; sums over the prompt are divided by its length, with
        ``"columns"`` by one more, for the column of the query."""
        length = self.labels.shape[1]
        divisor = length + (normalization == "columns")
        context = np.empty((len(self), self.tokens.shape[2] + 1))
        np.divide(np.matmul(self.labels[:, None, :], self.tokens)[:, 0], divisor, out=context[:, :-1])
        np.divide(np.square(self.labels).sum(axis=1), divisor, out=context[:, -1])
        return Statistics(context, self.query, self.target)


@dataclass(frozen=True)
class Tasks:
    """The law of tasks and the seed that they are drawn from; nothing is drawn before it is asked for.

    Made by :func:`make_tasks`, which says what the attributes mean.
    """

    tasks: int
    dimension: int
    prompt_length: int
    seed: int = 0
    correlation: float = 0.0
    teacher: Teacher = "dense"
    teacher_size: int | None = None
    distinct_teachers: int | None = None
    draw: Draw = "prompts"
    normalization: Normalization = "prompt"
    unseen_teachers: bool = False

    def first(self, tasks: int) -> Tasks:
        """The first of them, or more of the same."""
        return replace(self, tasks=_whole("tasks", tasks))

    def unseen(self, tasks: int) -> Tasks:
        """Others of the same law, with teachers of their own: no prompt or teacher is in both."""
        return replace(self, tasks=_whole("tasks", tasks), unseen_teachers=True, distinct_teachers=None)

    def prompts(self) -> Iterator[Prompts]:
        """The tasks, some at a time; ValueError where only their statistics are drawn."""
        if self.draw != "prompts":
            raise ValueError("prompts: these tasks are drawn as statistics; make them with draw='prompts'")
        for count, random in self._blocks():
            teachers = self._teachers_of(count, random)
            tokens = self._colour(random.standard_normal((_BLOCK, self.prompt_length, self.dimension)))
            query = self._colour(random.standard_normal((_BLOCK, self.dimension)))
            labels = np.matmul(tokens, teachers[:, :, None])[:, :, 0] / math.sqrt(self.dimension)
            target = np.einsum("ij,ij->i", teachers, query) / math.sqrt(self.dimension)
            kept = slice(0, count[1])
            yield Prompts(tokens[kept], labels[kept], query[kept], target[kept], teachers[kept])

    def statistics(self) -> Iterator[Statistics]:
        """What linear attention sees of the tasks, some at a time."""
        if self.draw == "prompts":
            for prompts in self.prompts():
                yield prompts.statistics(self.normalization)
            return
        for count, random in self._blocks():
            yield self._drawn_statistics(count, random)

    def _drawn_statistics(self, count: tuple[int, int], random: np.random.Generator) -> Statistics:
        """From their law given the teacher: labels are Gaussian, and of the tokens only their part along
        whitened teachers meets them."""
        teachers = self._teachers_of(count, random)
        along = self._colour(teachers)  # what whitened tokens are multiplied by
        length2 = np.einsum("ij,ij->i", along, along)
        power = random.chisquare(self.prompt_length, _BLOCK) / self.prompt_length
        noise = random.standard_normal((_BLOCK, self.dimension))
        query = self._colour(random.standard_normal((_BLOCK, self.dimension)))
        safe = np.where(length2 > 0, length2, 1.0)
        noise -= along * (np.einsum("ij,ij->i", along, noise) / safe)[:, None]
        noise *= np.sqrt(length2 * power / self.prompt_length)[:, None]
        scale = self.prompt_length / (self.prompt_length + (self.normalization == "columns"))
        context = np.empty((_BLOCK, self.dimension + 1))
        context[:, :-1] = self._colour(along * power[:, None] + noise) * (scale / math.sqrt(self.dimension))
        context[:, -1] = length2 * power * (scale / self.dimension)
        target = np.einsum("ij,ij->i", teachers, query) / math.sqrt(self.dimension)
        kept = slice(0, count[1])
        return Statistics(context[kept], query[kept], target[kept])

    def _blocks(self) -> Iterator[tuple[tuple[int, int], np.random.Generator]]:
        """Number of a block and how many of its tasks are wanted, with its own generator."""
        stream = _UNSEEN if self.unseen_teachers else _TASKS
        for number in range(-(-self.tasks // _BLOCK)):
            wanted = min(_BLOCK, self.tasks - number * _BLOCK)
            yield (number, wanted), np.random.default_rng([self.seed, stream, number])

    def _teachers_of(self, count: tuple[int, int], random: np.random.Generator) -> Floats:
        """One a task of a block."""
        if self.distinct_teachers is None:
            return self._draw_teachers(_BLOCK, random)
        at = np.arange(count[0] * _BLOCK, (count[0] + 1) * _BLOCK) % self.distinct_teachers
        return self._distinct[at]

    @cached_property
    def _distinct(self) -> Floats:
        assert self.distinct_teachers is not None
        return self._draw_teachers(self.distinct_teachers, np.random.default_rng([self.seed, _TEACHERS]))

    def _draw_teachers(self, number: int, random: np.random.Generator) -> Floats:
        if self.teacher == "dense":
            return random.standard_normal((number, self.dimension))
        size = self.teacher_size
        assert size is not None
        scale = math.sqrt(self.dimension / size)
        if self.teacher == "low_rank":
            return random.standard_normal((number, size)) @ self._subspace.T * scale
        order = np.argsort(random.random((number, self.dimension)), axis=1)
        values = random.standard_normal((number, size)) * scale
        teachers = np.zeros((number, self.dimension))
        np.put_along_axis(teachers, order[:, :size], values, axis=1)
        return teachers

    @cached_property
    def _subspace(self) -> Floats:
        """Orthonormal columns that span the teachers of low rank."""
        random = np.random.default_rng([self.seed, _SUBSPACE])
        basis: Floats = np.linalg.qr(random.standard_normal((self.dimension, self.teacher_size)))[0]
        return basis

    def _colour(self, white: Floats) -> Floats:
        """The root of the tokens' covariance, times the last axis."""
        if not self.correlation:
            return white
        alone = math.sqrt(1 - self.correlation)
        together = math.sqrt(1 - self.correlation + self.correlation * self.dimension)
        coloured: Floats = alone * white + (together - alone) * white.mean(axis=-1, keepdims=True)
        return coloured


def make_tasks(
    *,
    tasks: int,
    dimension: int,
    prompt_length: int,
    seed: int = 0,
    correlation: float = 0.0,
    teacher: Teacher = "dense",
    teacher_size: int | None = None,
    distinct_teachers: int | None = None,
    draw: Draw = "prompts",
    normalization: Normalization = "prompt",
) -> Tasks:
    """Tasks of linear regression in context (arXiv 2408.02288).

    A task has a teacher w; its prompt holds tokens x_k with labels w . x_k / sqrt(dimension), and a query whose
    label is to be told. Memory is that of a few tasks at a time, whatever their number.

    Args:
        tasks: how many.
        dimension: of tokens and teachers.
        prompt_length: tokens with labels in each prompt; the query comes on top.
        seed: the same tasks for the same seed; more tasks begin with the same ones.
        correlation: of any two coordinates of a token, from 0 to 1: their covariance is
            (1 - correlation) I + correlation 11'.
        teacher: ``"dense"``: standard normal. ``"sparse"``: ``teacher_size`` coordinates, chosen anew for every
            task, others 0. ``"low_rank"``: in one subspace of ``teacher_size`` dimensions, the same for all tasks.
            Both are scaled so that the squared length is ``dimension`` on average.
        teacher_size: see ``teacher``.
        distinct_teachers: how many teachers the tasks share, in turn; one for every task without it.
        draw: ``"prompts"``, or ``"statistics"``: what linear attention sees of a prompt is drawn from its exact
            law, without the prompt, ``prompt_length`` times cheaper; other realisations of the same law.
        normalization: ``"prompt"``: sums over the prompt are divided by ``prompt_length``; ``"columns"``: by
            ``prompt_length + 1``.

    Raises:
        ValueError: a size below 1, a correlation outside [0, 1], a teacher size that is missing, superfluous or
            larger than ``dimension``, or an unknown word.
        TypeError: a size that is not a whole number.
    """
    sizes = {
        "tasks": _whole("tasks", tasks),
        "dimension": _whole("dimension", dimension),
        "prompt_length": _whole("prompt_length", prompt_length),
    }
    if distinct_teachers is not None:
        distinct_teachers = _whole("distinct_teachers", distinct_teachers)
    if not 0 <= correlation <= 1:
        raise ValueError(f"correlation must lie between 0 and 1, got {correlation}")
    _one_of("teacher", teacher, ("dense", "sparse", "low_rank"))
    _one_of("draw", draw, ("prompts", "statistics"))
    _one_of("normalization", normalization, ("prompt", "columns"))
    if teacher == "dense":
        if teacher_size is not None:
            raise ValueError("teacher_size goes with teacher='sparse' or 'low_rank'; a dense one has none")
    elif teacher_size is None:
        raise ValueError(f"teacher_size must say how many dimensions a {teacher} teacher has")
    else:
        teacher_size = _whole("teacher_size", teacher_size)
        if teacher_size > dimension:
            raise ValueError(f"teacher_size must be at most the dimension, {dimension}, got {teacher_size}")
    return Tasks(
        **sizes,
        seed=operator.index(seed),
        correlation=float(correlation),
        teacher=teacher,
        teacher_size=teacher_size,
        distinct_teachers=distinct_teachers,
        draw=draw,
        normalization=normalization,
    )


def _whole(name: str, given: int) -> int:
    try:
        number = operator.index(given)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {given!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def _one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {given!r}")
