"""Linear-regression tasks in prompts: how tokens, teachers and labels are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import as_number, of_shape, whole
from lmscope.spin_glass.context_law import context_of_independent, context_of_shared
from lmscope.spin_glass.memory import check_memory
from lmscope.spin_glass.streams import Stream, generator

__all__ = ["Prompts", "Statistics", "Tasks", "make_prompts", "make_tasks"]

Floats = npt.NDArray[np.float64]
Teacher = Literal["dense", "sparse", "low_rank"]
Draw = Literal["prompts", "statistics"]
Correlated = Literal["tokens", "coordinates"]
Normalization = Literal["prompt", "columns"]

_BLOCK, _BLOCK_NUMBERS = 64, 2**21
"""Tasks drawn from one generator, fewer where their tokens are more numbers than this: the first tasks are
the same whatever number is asked for."""

_DRAWN = 8
"""Rows of ``dimension`` numbers that a task takes beside its prompt while it is drawn."""

_SUBSPACE_COPIES = 4
"""Of the basis: drawn, factored, and the factor taken apart."""


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        return f"Statistics(tasks={len(self)}, dimension={self.dimension})"

    def _repr_html_(self) -> str:
        sizes = [("tasks", len(self)), ("dimension", self.dimension)]
        return html_repr.block("What linear attention sees of tasks", html_repr.facts(sizes))

    @property
    def dimension(self) -> int:
        return int(self.query.shape[1])


@dataclass(frozen=True, eq=False, repr=False)
class Prompts:
    """Tasks with their prompts; :func:`make_prompts` checks arrays from elsewhere.

    Attributes:
        tokens: tasks x prompt length x dimension.
        labels: tasks x prompt length.
        query: tasks x dimension.
        target: (tasks,): the label of the query.
        teachers: tasks x dimension: a label is teacher . token / sqrt(dimension); None where not known.
    """

    tokens: Floats
    labels: Floats
    query: Floats
    target: Floats
    teachers: Floats | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        return f"Prompts(tasks={len(self)}, dimension={self.dimension}, prompt_length={self.prompt_length})"

    def _repr_html_(self) -> str:
        sizes = [
            ("tasks", len(self)),
            ("dimension", self.dimension),
            ("prompt length", self.prompt_length),
            ("teachers", "unknown" if self.teachers is None else "known"),
        ]
        return html_repr.block("Tasks with their prompts", html_repr.facts(sizes))

    @property
    def dimension(self) -> int:
        return int(self.tokens.shape[2])

    @property
    def prompt_length(self) -> int:
        return int(self.tokens.shape[1])

    def statistics(self, normalization: Normalization = "prompt") -> Statistics:
        """What linear attention sees of them; sums over the prompt are divided by its length, with
        ``"columns"`` by one more, for the column of the query."""
        _one_of("normalization", normalization, get_args(Normalization))
        divisor = self.prompt_length + (normalization == "columns")
        context = np.empty((len(self), self.dimension + 1))
        np.divide(np.matmul(self.labels[:, None, :], self.tokens)[:, 0], divisor, out=context[:, :-1])
        np.divide(np.einsum("ij,ij->i", self.labels, self.labels), divisor, out=context[:, -1])
        return Statistics(context, self.query, self.target)


@dataclass(frozen=True)
class Tasks:
    """The law of tasks and the seed that they are drawn from; nothing is drawn before it is asked for.

    Made by :func:`make_tasks`, which says what the attributes mean; ``unseen_teachers`` marks what
    :meth:`unseen` gives.
    """

    tasks: int
    dimension: int
    prompt_length: int
    seed: int = 0
    correlation: float = 0.0
    correlated: Correlated = "tokens"
    teacher: Teacher = "dense"
    teacher_size: int | None = None
    distinct_teachers: int | None = None
    draw: Draw = "prompts"
    normalization: Normalization = "prompt"
    unseen_teachers: bool = False

    def _repr_html_(self) -> str:
        teacher = self.teacher if self.teacher_size is None else f"{self.teacher}, size {self.teacher_size}"
        pairs = [
            ("tasks", self.tasks),
            ("dimension", self.dimension),
            ("prompt length", self.prompt_length),
            ("teachers", teacher),
            ("distinct teachers", self.distinct_teachers or "one for every task"),
            (f"correlation of {self.correlated}", self.correlation),
            ("seed", f"{self.seed}, unseen" if self.unseen_teachers else self.seed),
        ]
        return html_repr.block("Tasks of linear regression in context", html_repr.facts(pairs))

    def first(self, tasks: int) -> Tasks:
        """The first of them, or more of the same."""
        return replace(self, tasks=whole("tasks", tasks, 1))

    def unseen(self, tasks: int) -> Tasks:
        """Others of the same law, with teachers of their own, one each: no prompt or teacher is in both."""
        return replace(self, tasks=whole("tasks", tasks, 1), unseen_teachers=True, distinct_teachers=None)

    def prompts(self) -> Iterator[Prompts]:
        """The tasks, some at a time; ValueError where only their statistics are drawn, or where a single one
        does not fit in memory."""
        if self.draw != "prompts":
            raise ValueError("prompts: these tasks are drawn as statistics; make them with draw='prompts'")
        self._check_memory("prompts", 2 * self.prompt_length, "shorten them, or take draw='statistics'")
        for first, wanted, random in self._blocks():
            teachers = self._block_teachers(first, random)
            tokens, query = self._draw_tokens(random)
            # Labels scale with the small array, not with the large one.
            scaled = teachers / math.sqrt(self.dimension)
            labels = np.matmul(tokens, scaled[:, :, None])[:, :, 0]
            target = np.einsum("ij,ij->i", scaled, query)
            kept = slice(0, wanted)
            yield Prompts(tokens[kept], labels[kept], query[kept], target[kept], teachers[kept])

    def statistics(self) -> Iterator[Statistics]:
        """What linear attention sees of the tasks, some at a time; ValueError where a single one does not fit
        in memory."""
        if self.draw == "prompts":
            for prompts in self.prompts():
                yield prompts.statistics(self.normalization)
            return
        self._check_memory("statistics", 0, "take a smaller dimension")
        for first, wanted, random in self._blocks():
            drawn = self._draw_statistics(self._block_teachers(first, random), random)
            kept = slice(0, wanted)
            yield Statistics(drawn.context[kept], drawn.query[kept], drawn.target[kept])

    def teachers(self) -> Iterator[Floats]:
        """The teachers of the tasks, tasks x dimension, some at a time, without prompts."""
        self._check_memory("teachers", 0, "take a smaller dimension")
        for first, wanted, random in self._blocks():
            yield self._block_teachers(first, random)[:wanted]

    def _draw_tokens(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Tokens and query of each task of a block."""
        tokens = random.standard_normal((self._block, self.prompt_length, self.dimension))
        query = random.standard_normal((self._block, self.dimension))
        if not self.shares_tokens:
            return self._colour(tokens), self._colour(query)
        shared = math.sqrt(self.correlation) * random.standard_normal((self._block, self.dimension))
        for part in (tokens, query):
            part *= math.sqrt(1 - self.correlation)
        tokens += shared[:, None]
        query += shared
        return tokens, query

    def _draw_statistics(self, teachers: Floats, random: np.random.Generator) -> Statistics:
        """Their exact law given the teachers. With tokens Rz of independent z, labels are z . Rw /
        sqrt(dimension), and what holds of z holds of the tokens times R."""
        along = self._colour(teachers / math.sqrt(self.dimension))
        if self.shares_tokens:
            context, query = context_of_shared(along, self.prompt_length, self.correlation, random)
        else:
            context, query = context_of_independent(along, self.prompt_length, random)
            context[:, :-1], query = self._colour(context[:, :-1]), self._colour(query)
        context *= self.prompt_length / (self.prompt_length + (self.normalization == "columns"))
        target = np.einsum("ij,ij->i", teachers, query) / math.sqrt(self.dimension)
        return Statistics(context, query, target)

    @property
    def shares_tokens(self) -> bool:
        """Whether the tokens of a prompt, its query with them, have a part in common."""
        return self.correlated == "tokens" and self.correlation > 0

    @property
    def _block(self) -> int:
        return min(_BLOCK, max(1, _BLOCK_NUMBERS // (self.prompt_length * self.dimension)))

    def _check_memory(self, what: str, rows: int, way_out: str) -> None:
        """Of what is drawn at once, with so many rows of ``dimension`` numbers a task."""
        rows = self._block * (rows + _DRAWN)
        check_memory(f"{what} drawn at once", 8 * rows * self.dimension, way_out)

    def _blocks(self) -> Iterator[tuple[int, int, np.random.Generator]]:
        """First task of a block, how many of its tasks are wanted, and its own generator."""
        stream = Stream.UNSEEN if self.unseen_teachers else Stream.TASKS
        for number, first in enumerate(range(0, self.tasks, self._block)):
            random = generator(self.seed, stream, number)
            yield first, min(self._block, self.tasks - first), random

    def _block_teachers(self, first: int, random: np.random.Generator) -> Floats:
        """One for each task of a block."""
        if self.distinct_teachers is None:
            return self._draw_teachers(self._block, random)
        teachers: Floats = self._distinct[np.arange(first, first + self._block) % len(self._distinct)]
        return teachers

    @cached_property
    def _distinct(self) -> Floats:
        """Those that the tasks have. In blocks of one size, so that the first are the same whatever number is
        drawn."""
        assert self.distinct_teachers is not None
        number = min(self.distinct_teachers, self.tasks)
        check_memory(
            f"{number} distinct teachers",
            8 * self.dimension * (2 * number + _DRAWN * _BLOCK),
            "take fewer, or a smaller dimension",
        )
        random = generator(self.seed, Stream.TEACHERS)
        blocks = [self._draw_teachers(_BLOCK, random) for _ in range(0, number, _BLOCK)]
        return np.concatenate(blocks)[:number]

    def _draw_teachers(self, number: int, random: np.random.Generator) -> Floats:
        if self.teacher_size is None:
            return random.standard_normal((number, self.dimension))
        values = random.standard_normal((number, self.teacher_size))
        values *= math.sqrt(self.dimension / self.teacher_size)
        if self.teacher == "low_rank":
            teachers: Floats = values @ self.subspace.T
            return teachers
        order = np.argsort(random.random((number, self.dimension)), axis=1)
        teachers = np.zeros((number, self.dimension))
        np.put_along_axis(teachers, order[:, : self.teacher_size], values, axis=1)
        return teachers

    @cached_property
    def subspace(self) -> Floats:
        """Orthonormal columns that span all teachers of low rank, dimension x teacher_size."""
        if self.teacher != "low_rank":
            raise ValueError(f"subspace: only teachers of low rank have one, these are {self.teacher}")
        size = self.teacher_size or 0
        check_memory(
            f"the subspace of {size} dimensions",
            8 * _SUBSPACE_COPIES * self.dimension * size,
            "take a smaller dimension or teacher_size",
        )
        random = generator(self.seed, Stream.SUBSPACE)
        basis: Floats = np.linalg.qr(random.standard_normal((self.dimension, size)))[0]
        return basis

    def _colour(self, white: Floats) -> Floats:
        """``white``, which it may overwrite, with its last axis times the root of its covariance."""
        if self.correlation and self.correlated == "coordinates":
            alone = math.sqrt(1 - self.correlation)
            together = math.sqrt(1 - self.correlation + self.correlation * self.dimension)
            mean = white.mean(axis=-1, keepdims=True)
            white *= alone
            white += (together - alone) * mean
        return white


def make_tasks(
    *,
    tasks: int,
    dimension: int,
    prompt_length: int,
    seed: int = 0,
    correlation: float = 0.0,
    correlated: Correlated = "tokens",
    teacher: Teacher = "dense",
    teacher_size: int | None = None,
    distinct_teachers: int | None = None,
    draw: Draw = "prompts",
    normalization: Normalization = "prompt",
) -> Tasks:
    """Tasks of linear regression in context (arXiv 2408.02288).

    A task has a teacher w; its prompt holds tokens x_k with labels w . x_k / sqrt(dimension), and a query
    whose label is to be told. Memory is that of a few tasks at a time, whatever their number.

    Args:
        tasks: how many.
        dimension: of tokens and teachers.
        prompt_length: tokens with labels in each prompt; the query comes on top.
        seed: the same tasks for the same seed, where only their number may differ: more tasks begin with
            the same ones.
        correlation: from 0 to 1, of what ``correlated`` names, whose covariance is
            (1 - correlation) I + correlation 11'.
        correlated: ``"tokens"``: any two tokens of a prompt, the query one of them, have correlated entries:
            they share a part that is drawn anew for every task, and coordinates are independent.
            ``"coordinates"``: any two coordinates of a token are correlated, and tokens are independent.
        teacher: ``"dense"``: standard normal. ``"sparse"``: ``teacher_size`` coordinates, chosen anew for
            every task, others 0. ``"low_rank"``: in one random subspace of ``teacher_size`` dimensions, the
            same for all tasks of a seed. Both are scaled so that the squared length is ``dimension`` on
            average.
        teacher_size: see ``teacher``.
        distinct_teachers: how many teachers the tasks share, in turn; one for every task without it.
        draw: ``"prompts"``, or ``"statistics"``: what linear attention sees of a prompt is drawn from its
            exact law, without the prompt, ``prompt_length`` times cheaper; the same teachers, other
            realisations of the rest.
        normalization: ``"prompt"``: sums over the prompt are divided by ``prompt_length``; ``"columns"``:
            by ``prompt_length + 1``.

    Raises:
        ValueError: a size below 1, a seed below 0 or from 2**63 up, a correlation outside [0, 1], a teacher
            size that is missing, superfluous or larger than ``dimension``, or an unknown word.
        TypeError: a size or seed that is not a whole number, a correlation that is none.
    """
    dimension = whole("dimension", dimension, 1)
    if distinct_teachers is not None:
        distinct_teachers = whole("distinct_teachers", distinct_teachers, 1)
    if not 0 <= as_number("correlation", correlation) <= 1:
        raise ValueError(f"correlation must lie between 0 and 1, got {correlation}")
    _one_of("correlated", correlated, get_args(Correlated))
    _one_of("teacher", teacher, get_args(Teacher))
    _one_of("draw", draw, get_args(Draw))
    _one_of("normalization", normalization, get_args(Normalization))
    if teacher == "dense":
        if teacher_size is not None:
            raise ValueError("teacher_size goes with teacher='sparse' or 'low_rank'; a dense one has none")
    elif teacher_size is None:
        raise ValueError(f"teacher_size must say how many dimensions a {teacher} teacher has")
    else:
        teacher_size = whole("teacher_size", teacher_size, 1)
        if teacher_size > dimension:
            raise ValueError(f"teacher_size must be at most the dimension, {dimension}, got {teacher_size}")
    return Tasks(
        tasks=whole("tasks", tasks, 1),
        dimension=dimension,
        prompt_length=whole("prompt_length", prompt_length, 1),
        seed=whole("seed", seed, 0),
        correlation=float(correlation),
        correlated=correlated,
        teacher=teacher,
        teacher_size=teacher_size,
        distinct_teachers=distinct_teachers,
        draw=draw,
        normalization=normalization,
    )


def make_prompts(*, tokens: Any, labels: Any, query: Any, target: Any, teachers: Any = None) -> Prompts:
    """Tasks of one's own, from arrays or torch tensors of float64, float32, float16 or bfloat16; integers are
    refused. Labels may come from anything: noise, or other functions of the tokens.

    Args:
        tokens: tasks x prompt length x dimension.
        labels: tasks x prompt length, of the tokens.
        query: tasks x dimension.
        target: (tasks,): the label of the query.
        teachers: tasks x dimension, where they are known.

    Returns:
        Prompts in float64, without a copy where that is what was given.

    Raises:
        ValueError: a shape that does not fit the others, a size of 0, or NaN or Inf (named with its index).
        TypeError: another dtype.
    """
    tokens = of_shape("tokens", tokens, (None, None, None), "tasks x prompt length x dimension")
    tasks, length, dimension = tokens.shape
    return Prompts(
        tokens,
        of_shape("labels", labels, (tasks, length), "tasks x prompt length"),
        of_shape("query", query, (tasks, dimension), "tasks x dimension"),
        of_shape("target", target, (tasks,), "one number a task"),
        None if teachers is None else of_shape("teachers", teachers, (tasks, dimension), "tasks x dimension"),
    )


def _one_of(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {given!r}")
