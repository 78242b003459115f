"""Couplings and fields of the Hamiltonian whose ground state is the best linear attention for given tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import of_shape, whole
from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.products import multiply, one_blas_thread
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks

__all__ = ["BLOCK", "Fields", "StreamingFields", "fields"]

Floats = npt.NDArray[np.float64]

BLOCK = 256
"""Tasks of one partial sum: the length of sums that the error bounds of singular values assume."""
# Of the Gram matrix: itself, and the sums over pairs, their last addend and their mean, a quarter each.
_COPIES = 1.75
_LEAST_POWER = 1e-290
"""Of the squares that A is made of: from there on they keep their digits."""


@dataclass(frozen=True, eq=False, repr=False)
class Fields:
    """The quadratic form of the training loss: H(W) = W'(A + regularization) W / 2 - h'W over the spins W.

    The spins are the weights of merged linear attention, (dimension + 1) x (dimension + 1), row by row. Its
    last column meets the label of the query, which is 0: those spins are free, and left out of ``gram`` and
    ``field``. A feature is an entry of the context times one of the query.

    Attributes:
        gram: A, mean outer product of features, float64, spins x spins with spins = (dimension + 1) *
            dimension.
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
        by_pair = np.zeros((size, size, size, size))
        np.negative(self.gram.reshape(size, size - 1, size, size - 1), out=by_pair[:, :-1, :, :-1])
        couplings = by_pair.reshape(size * size, size * size)
        np.fill_diagonal(couplings, 0.0)
        return couplings

    def external(self) -> Floats:
        """h of all (dimension + 1)^2 spins."""
        return np.pad(self.field.reshape(-1, self.dimension), ((0, 0), (0, 1))).ravel()

    def feature_values(self) -> SingularValues:
        """Singular values of the tasks x spins matrix of features over the root of the number of tasks, with
        bounds; their squares are the eigenvalues of A, without those that fewer tasks than spins leave 0.

        ValueError where the copy of A that they are found in does not fit in memory.
        """
        check_memory(
            f"singular values of the features of {self.spins} spins (dimension {self.dimension})",
            gram_bytes(self.dimension),
            "take a smaller dimension",
        )
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

    Features are products of a context and a query: their mean outer product A is symmetric under exchange of
    the queries alone, and so known from products of pairs of contexts with pairs of queries, half the work
    and a quarter of the numbers: 10 000 tasks of dimension 20 took 22 ms on one thread, their features times
    themselves 43 ms by numpy, and 50 ms by the kernel whose sums are exact. The bits do not depend on the
    number of threads.

    Memory is 4 * spins^2 bytes, spins = dimension * (dimension + 1), whatever the number of tasks, and at
    most 10 * spins^2 more while the result is made, which takes 8 of them.

    Args:
        dimension: of tokens.

    Raises:
        ValueError: a dimension below 1, or one whose couplings do not fit in memory.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension = whole("dimension", dimension, 1)
        spins = dimension * (dimension + 1)
        check_memory(
            f"couplings of {spins} spins (dimension {dimension})",
            gram_bytes(dimension, _COPIES),
            "they grow with the fourth power of the dimension: take a smaller one",
        )
        self.tasks = 0
        self._lengths: set[int | None] = set()
        contexts, queries = _pairs(dimension + 1), _pairs(dimension)
        self._sum = np.zeros((contexts, queries))
        self._field = np.zeros((dimension + 1, dimension))
        self._power = 0.0
        # The largest entry of a context and of a query, among tasks whose features are not all 0.
        self._largest = np.zeros(2)
        self._additions = 0
        # One column a task.
        self._context = np.empty((dimension + 1, BLOCK))
        self._query = np.empty((dimension, BLOCK))
        self._target = np.empty(BLOCK)
        self._filled = 0
        self._context_pairs = np.empty((contexts, BLOCK))
        self._query_pairs = np.empty((queries, BLOCK))
        self._block = np.empty_like(self._sum)

    def update(self, tasks: Prompts | Statistics) -> None:
        """Add tasks; sums over prompts are divided by their length.

        Raises:
            ValueError: shapes that do not go together, or a value that is not finite; nothing is added then.
            TypeError: neither prompts nor statistics.
        """
        self._add(*_block(tasks))

    def merge(self, other: StreamingFields) -> None:
        """Add all tasks that ``other`` has seen; ``other`` may go on by itself.

        Raises:
            ValueError: another dimension, or the stream itself.
            TypeError: no stream.
        """
        if not isinstance(other, StreamingFields):
            raise TypeError(f"other must be StreamingFields, got {type(other).__name__}")
        if other is self:
            raise ValueError("a stream cannot be merged with itself")
        if other.dimension != self.dimension:
            raise ValueError(f"dimension: expected {self.dimension}, found {other.dimension}")
        other._flush()
        self._sum += other._sum
        self._field += other._field
        self._power += other._power
        np.maximum(self._largest, other._largest, out=self._largest)
        self._additions += other._additions + 1
        self.tasks += other.tasks
        self._lengths |= other._lengths

    def result(self) -> Fields:
        """Of the tasks so far; more may follow.

        Raises:
            ValueError: there are none, or their features are too large or too small for float64.
        """
        if self.tasks == 0:
            raise ValueError("tasks: the stream has seen none yet; couplings and fields are means over them")
        self._flush()
        if not (np.isfinite(self._sum).all() and np.isfinite(self._field).all()):
            raise ValueError("tasks: the squares of their features do not fit in float64")
        gram = self._gram()
        if self._largest.all() and min(*np.square(self._largest), float(np.trace(gram))) < _LEAST_POWER:
            raise ValueError(
                "tasks: the squares of their features vanish in float64; multiply what they are made of by a "
                "power of 2"
            )
        (length,) = self._lengths if len(self._lengths) == 1 else (None,)
        return Fields(
            gram=gram,
            field=(self._field / self.tasks).ravel(),
            target_power=self._power / self.tasks,
            tasks=self.tasks,
            dimension=self.dimension,
            prompt_length=length,
            additions=self._additions,
        )

    def _gram(self) -> Floats:
        mean = self._sum / self.tasks
        context_pair, query_pair = _pair_numbers(self.dimension + 1), _pair_numbers(self.dimension)
        size = self.dimension
        gram = np.empty((size + 1, size, size + 1, size))
        for row, pairs in enumerate(context_pair):
            gram[row] = mean[pairs][:, query_pair].transpose(1, 0, 2)
        spins = size * (size + 1)
        return gram.reshape(spins, spins)

    def _add(self, statistics: Statistics, length: int | None) -> None:
        count, size = len(statistics), self.dimension
        context = of_shape("context", statistics.context, (count, size + 1), "tasks x (dimension + 1)")
        query = of_shape("query", statistics.query, (count, size), "tasks x dimension")
        target = of_shape("target", statistics.target, (count,), "tasks")
        self._lengths.add(length)
        self.tasks += len(target)
        start = 0
        while start < len(target):
            stop = min(len(target), start + BLOCK - self._filled)
            into = slice(self._filled, self._filled + stop - start)
            self._context[:, into] = context[start:stop].T
            self._query[:, into] = query[start:stop].T
            self._target[into] = target[start:stop]
            self._filled = into.stop
            start = stop
            if self._filled == BLOCK:
                self._flush()

    def _flush(self) -> None:
        if self._filled == 0:
            return
        held = slice(self._filled)
        context, query, target = self._context[:, held], self._query[:, held], self._target[held]
        sizes = np.abs(context).max(axis=0), np.abs(query).max(axis=0)
        seen = (sizes[0] > 0) & (sizes[1] > 0)
        largest = [size.max(initial=0.0, where=seen) for size in sizes]
        np.maximum(self._largest, largest, out=self._largest)
        with np.errstate(over="ignore", invalid="ignore"), one_blas_thread():
            context_pairs = _multiply_pairs(context, self._context_pairs[:, held])
            query_pairs = _multiply_pairs(query, self._query_pairs[:, held])
            multiply(context_pairs, query_pairs.T, self._block)
            self._sum += self._block
            self._field += context @ (query * target).T
            self._power += float(target @ target)
        self._additions += 1
        self._filled = 0

    def __repr__(self) -> str:
        return f"StreamingFields(dimension={self.dimension}, {self.tasks} tasks)"


def fields(
    tasks: Tasks | Prompts | Statistics | Iterable[Prompts | Statistics],
    *,
    advance: Callable[[int], object] | None = None,
) -> Fields:
    """Couplings and fields of tasks, read once, some at a time.

    Memory is 14 * (dimension * (dimension + 1))^2 bytes at most, and a few tasks', whatever their number.
    The same tasks give the same bits, whatever the number of threads.

    Args:
        tasks: a law (:func:`make_tasks`), tasks, or any number of blocks of them.
        advance: called with the number of tasks of each block once they have been added.

    Raises:
        ValueError: no tasks, shapes that do not go together, a value that is not finite, or sizes that do not
            fit in memory, before anything is drawn; features whose squares float64 does not hold.
        TypeError: anything else.
    """
    stream: StreamingFields | None = None
    if isinstance(tasks, Tasks):
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


def _pairs(size: int) -> int:
    return size * (size + 1) // 2


def _pair_numbers(size: int) -> npt.NDArray[np.intp]:
    """Symmetric, size x size: where `_multiply_pairs` puts the product of two rows."""
    numbers = np.empty((size, size), np.intp)
    upper = np.triu_indices(size)
    numbers[upper] = numbers.T[upper] = np.arange(_pairs(size))
    return numbers


def _multiply_pairs(rows: Floats, out: Floats) -> Floats:
    """Each row times itself and all that follow."""
    start = 0
    for number, row in enumerate(rows):
        stop = start + len(rows) - number
        np.multiply(rows[number:], row, out=out[start:stop])
        start = stop
    return out


def _blocks(
    tasks: Tasks | Prompts | Statistics | Iterable[Prompts | Statistics],
) -> Iterator[tuple[Statistics, int | None]]:
    if isinstance(tasks, Tasks):
        for statistics in tasks.statistics():
            yield statistics, tasks.prompt_length
        return
    if isinstance(tasks, (Prompts, Statistics)):
        yield _block(tasks)
        return
    if not isinstance(tasks, Iterable):
        raise TypeError(f"tasks must be Tasks, Prompts, Statistics or blocks of them, got {tasks!r}")
    for block in tasks:
        yield _block(block)


def _block(tasks: Prompts | Statistics) -> tuple[Statistics, int | None]:
    """And the length of its prompts."""
    if isinstance(tasks, Prompts):
        return tasks.statistics(), tasks.labels.shape[1]
    if isinstance(tasks, Statistics):
        return tasks, None
    raise TypeError(f"tasks must be made of Prompts or Statistics, got {type(tasks).__name__}")
