"""Couplings and fields of the Hamiltonian whose ground state is the best linear attention for given tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks

__all__ = ["Fields", "StreamingFields", "fields"]

Floats = npt.NDArray[np.float64]

# The stream's triangle, the Gram matrix made of it, and a quarter for the features that wait.
_COPIES = 2.25
# Tasks that a law draws at a time.
_DRAWN_TASKS = 64
# Elements of features that wait at least: their sum counts as one addition in the error bounds.
_LEAST_BUFFER = 1 << 15


@dataclass(frozen=True, eq=False, repr=False)
class Fields:
    """The quadratic form of the training loss: H(W) = W'(A + regularization) W / 2 - h'W over the spins W.

    The spins are the weights of merged linear attention, (dimension + 1) x (dimension + 1), row by row. Its last
    column meets the label of the query, which is 0: those spins are free, and left out of ``gram`` and ``field``.

    Attributes:
        gram: A, mean outer product of features, float64, spins x spins with spins = (dimension + 1) * dimension.
        field: h, mean of target times features, float64, (spins,).
        target_power: mean squared target: the training loss of all-zero weights.
        tasks: how many they come from.
        dimension: of tokens.
        prompt_length: of the tasks; None where it is not known (statistics) or not the same for all.
        additions: partial sums that ``gram`` was added up from: its rounding error grows with them.
    """

    gram: Floats
    field: Floats
    target_power: float
    tasks: int
    dimension: int
    prompt_length: int | None
    additions: int = 1

    @property
    def spins(self) -> int:
        """Spins that the tasks can tell of; ``dimension + 1`` more are free."""
        return self.dimension * (self.dimension + 1)

    def couplings(self) -> Floats:
        """J of all (dimension + 1)^2 spins: minus the Gram matrix, without its diagonal (J_ij of
        arXiv 2408.02288)."""
        size = self.dimension + 1
        whole = np.zeros((size, size, size, size))
        np.negative(self.gram.reshape(size, size - 1, size, size - 1), out=whole[:, :-1, :, :-1])
        whole = whole.reshape(size * size, size * size)
        np.fill_diagonal(whole, 0.0)
        return whole

    def external(self) -> Floats:
        """h of all (dimension + 1)^2 spins."""
        return np.pad(self.field.reshape(-1, self.dimension), ((0, 0), (0, 1))).ravel()

    def feature_values(self) -> SingularValues:
        """Singular values of the tasks x spins matrix of features over the root of the number of tasks, with
        bounds; their squares are the eigenvalues of A, without those that fewer tasks than spins leave 0."""
        return _values_of(self.gram, self.tasks, self.additions)

    def label_values(self) -> SingularValues:
        """The same of the features whose context is the label's alone, tasks x dimension."""
        label = slice(self.dimension**2, None)
        return _values_of(self.gram[label, label], self.tasks, self.additions)

    def __repr__(self) -> str:
        length = "" if self.prompt_length is None else f", prompt_length={self.prompt_length}"
        return f"Fields({self.tasks} tasks, dimension={self.dimension}{length}, {self.spins} spins)"

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Couplings and fields",
            html_repr.facts(
                [
                    ("tasks", self.tasks),
                    ("dimension", self.dimension),
                    ("prompt length", "–" if self.prompt_length is None else self.prompt_length),
                    ("spins that enter", self.spins),
                    ("free spins", self.dimension + 1),
                    ("mean squared target", html_repr.number(self.target_power)),
                ]
            ),
        )


class StreamingFields:
    """Sums over tasks that :class:`Fields` are made of; they can be merged.

    Memory is 18 * spins^2 bytes, spins = dimension * (dimension + 1), whatever the number of tasks.

    Args:
        dimension: of tokens.

    Raises:
        ValueError: a dimension below 1, or one whose couplings do not fit in memory.
    """

    def __init__(self, dimension: int) -> None:
        if dimension < 1:
            raise ValueError(f"dimension must be at least 1, got {dimension}")
        _check_fit(dimension)
        self.dimension = dimension
        spins = dimension * (dimension + 1)
        self._stream = StreamingSingularValues(spins)
        self._field = np.zeros(spins)
        self._power = 0.0
        self._lengths: set[int | None] = set()
        # A quarter of the Gram matrix: rows enough that its update is not bound by memory.
        self._buffer = np.empty((max(64, spins // 4, _LEAST_BUFFER // spins), spins))
        self._filled = 0

    @property
    def tasks(self) -> int:
        """Tasks so far."""
        return self._stream.rows + self._filled

    def update(self, tasks: Prompts | Statistics) -> None:
        """Add tasks; sums over prompts are divided by their length.

        Raises:
            ValueError: shapes that do not go together, or a value that is not finite, named with its task.
        """
        if isinstance(tasks, Prompts):
            statistics, length = tasks.statistics(), tasks.labels.shape[1]
        else:
            statistics, length = tasks, None
        self._add(statistics, length)

    def merge(self, other: StreamingFields) -> None:
        """Add all tasks that ``other`` has seen; ``other`` may go on by itself.

        Raises:
            ValueError: another dimension, or the stream itself.
        """
        if other is self:
            raise ValueError("a stream cannot be merged with itself")
        if other.dimension != self.dimension:
            raise ValueError(f"dimension: expected {self.dimension}, found {other.dimension}")
        self._flush()
        other._flush()
        self._stream.merge(other._stream)
        self._field += other._field
        self._power += other._power
        self._lengths |= other._lengths

    def result(self) -> Fields:
        """Of the tasks so far; more may follow. ValueError where there are none."""
        self._flush()
        tasks = self._stream.rows
        if tasks == 0:
            raise ValueError("tasks: the stream has seen none yet; couplings and fields are means over them")
        gram, additions = self._stream.gram_and_additions()
        gram /= tasks
        (length,) = self._lengths if len(self._lengths) == 1 else (None,)
        return Fields(
            gram, self._field / tasks, self._power / tasks, tasks, self.dimension, length, max(additions, 1)
        )

    def feature_values(self) -> SingularValues:
        """Singular values of the tasks x spins matrix of features over the root of the number of tasks, with
        bounds, as :meth:`Fields.feature_values`."""
        self._flush()
        if self._stream.rows == 0:
            raise ValueError("tasks: the stream has seen none yet; features are one row a task")
        found = self._stream.result()
        root = np.sqrt(self._stream.rows)
        return SingularValues(found.values / root, found.bounds / root, found.method)

    def _add(self, statistics: Statistics, length: int | None) -> None:
        context, query, target = _checked(statistics, self.dimension, self.tasks)
        self._lengths.add(length)
        start = 0
        while start < len(target):
            count = min(len(target) - start, len(self._buffer) - self._filled)
            features = self._buffer[self._filled : self._filled + count]
            rows = slice(start, start + count)
            np.multiply(
                context[rows, :, None],
                query[rows, None, :],
                out=features.reshape(count, self.dimension + 1, self.dimension),
            )
            self._field += target[rows] @ features
            self._filled += count
            start += count
            if self._filled == len(self._buffer):
                self._flush()
        self._power += float(target @ target)

    def _flush(self) -> None:
        if self._filled:
            self._stream.update(self._buffer[: self._filled])
            self._filled = 0

    def __repr__(self) -> str:
        return f"StreamingFields(dimension={self.dimension}, {self.tasks} tasks)"


def fields(
    tasks: Tasks | Prompts | Statistics | Iterable[Prompts | Statistics],
    *,
    advance: Callable[[int], object] | None = None,
) -> Fields:
    """Couplings and fields of tasks, read once, some at a time.

    Memory is 18 * (dimension * (dimension + 1))^2 bytes, and a few tasks', whatever their number.

    Args:
        tasks: a law (:func:`make_tasks`), tasks, or any number of blocks of them.
        advance: called with the number of tasks of each block once they have been added.

    Raises:
        ValueError: no tasks, shapes that do not go together, a value that is not finite, or sizes that do not
            fit in memory, before anything is drawn.
    """
    stream: StreamingFields | None = None
    if isinstance(tasks, Tasks):
        _check_fit(tasks.dimension, tasks.prompt_length if tasks.draw == "prompts" else 0)
        stream = StreamingFields(tasks.dimension)
    for statistics, length in _blocks(tasks):
        if stream is None:
            stream = StreamingFields(statistics.query.shape[-1])
        stream._add(statistics, length)
        if advance is not None:
            advance(len(statistics))
    if stream is None:
        raise ValueError("tasks: there are none; couplings and fields are means over them")
    return stream.result()


def _values_of(gram: Floats, tasks: int, additions: int) -> SingularValues:
    """Of the rows that a mean outer product came from, over the root of their number."""
    state = {
        "method": "gram",
        "columns": len(gram),
        "rows": tasks,
        "additions": additions,
        "exponent": 0,
        "triangle": gram,
    }
    return StreamingSingularValues.from_state(state).result()


def _blocks(
    tasks: Tasks | Prompts | Statistics | Iterable[Prompts | Statistics],
) -> Iterator[tuple[Statistics, int | None]]:
    if isinstance(tasks, Tasks):
        for statistics in tasks.statistics():
            yield statistics, tasks.prompt_length
        return
    for block in (tasks,) if isinstance(tasks, (Prompts, Statistics)) else tasks:
        if isinstance(block, Prompts):
            yield block.statistics(), block.labels.shape[1]
        elif isinstance(block, Statistics):
            yield block, None
        else:
            raise TypeError(f"tasks must be made of Prompts or Statistics, got {type(block).__name__}")


def _checked(statistics: Statistics, dimension: int, before: int) -> tuple[Floats, Floats, Floats]:
    """Context, query and target; ``before`` tasks came in earlier blocks."""
    count = len(statistics)
    found = []
    for name, width in (("context", (dimension + 1,)), ("query", (dimension,)), ("target", ())):
        values = np.asarray(getattr(statistics, name))
        if values.shape != (count, *width):
            raise ValueError(f"{name}: expected shape {(count, *width)}, found {values.shape}")
        if not np.isfinite(values).all():
            task = before + int(np.argwhere(~np.isfinite(values))[0, 0])
            raise ValueError(f"{name} of task {task} is not finite")
        found.append(values)
    context, query, target = found
    return context, query, target


def _check_fit(dimension: int, prompt_length: int = 0) -> None:
    """``prompt_length``: of prompts that will be drawn, a block of them at a time."""
    spins = dimension * (dimension + 1)
    # Tokens, and their copies while they are drawn.
    drawn = 3 * 8 * _DRAWN_TASKS * prompt_length * (dimension + 1)
    check_memory(
        f"couplings of {spins} spins (dimension {dimension}"
        + (f", prompts of {prompt_length})" if prompt_length else ")"),
        gram_bytes(dimension, _COPIES) + drawn,
        "take a smaller dimension"
        + (
            ", or shorter prompts: draw='statistics' needs none"
            if drawn > gram_bytes(dimension, _COPIES)
            else ""
        ),
    )
