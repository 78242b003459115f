"""Couplings and fields of the Hamiltonian whose ground state is the best linear attention for given tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks

__all__ = ["Fields", "StreamingFields", "fields"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fields:
    """The quadratic form of the training loss: H(W) = W'(A + regularization) W / 2 - h'W over the spins W.

    The spins are the weights of merged linear attention, (dimension + 1) x (dimension + 1), row by row. Its last
    column meets the label of the query, which is 0: those spins are free, and left out of ``gram`` and ``field``.

    Attributes:
        gram: A, mean outer product of features, spins x spins with spins = (dimension + 1) * dimension.
        field: h, mean of target times features, (spins,).
        target_power: mean squared target: the loss of all-zero weights is half of it.
        tasks, dimension, prompt_length: what they come from.
        feature_values: singular values of the tasks x spins matrix of features, with bounds: the eigenvalues of A
            are their squares over the number of tasks.
    """

    gram: Floats
    field: Floats
    target_power: float
    tasks: int
    dimension: int
    prompt_length: int | None

    @property
    def spins(self) -> int:
        """Spins that the tasks can tell of; ``dimension + 1`` more are free."""
        return self.dimension * (self.dimension + 1)

    def couplings(self) -> Floats:
        """J of all (dimension + 1)^2 spins: minus the Gram matrix, without its diagonal (papers' J_ij)."""
        size = self.dimension + 1
        whole = np.zeros((size, size, size, size))
        np.negative(self.gram.reshape(size, size - 1, size, size - 1), out=whole[:, :-1, :, :-1])
        whole = whole.reshape(size * size, size * size)
        np.fill_diagonal(whole, 0.0)
        return whole

    def external(self) -> Floats:
        """h of all (dimension + 1)^2 spins."""
        return np.pad(self.field.reshape(-1, self.dimension), ((0, 0), (0, 1))).ravel()


class StreamingFields:
    """Sums over tasks that :class:`Fields` are made of; mergeable, memory O(spins^2)."""

    def __init__(self, dimension: int, prompt_length: int | None = None) -> None:
        self.dimension = dimension
        self.prompt_length = prompt_length
        spins = dimension * (dimension + 1)
        self._stream = StreamingSingularValues(spins)
        self._field = np.zeros(spins)
        self._power = 0.0
        # A quarter of the Gram matrix: rows enough that its update is not bound by memory.
        self._buffer = np.empty((max(64, spins // 4), spins))
        self._filled = 0

    @property
    def tasks(self) -> int:
        return self._stream.rows + self._filled

    def update(self, statistics: Statistics) -> None:
        """Add tasks."""
        context, query = statistics.context, statistics.query
        self._field += (context.T @ (query * statistics.target[:, None])).ravel()
        self._power += float(statistics.target @ statistics.target)
        size = self.dimension
        start = 0
        while start < len(statistics):
            count = min(len(statistics) - start, len(self._buffer) - self._filled)
            into = self._buffer[self._filled : self._filled + count].reshape(count, size + 1, size)
            rows = slice(start, start + count)
            np.multiply(context[rows, :, None], query[rows, None, :], out=into)
            self._filled += count
            start += count
            if self._filled == len(self._buffer):
                self._flush()

    def merge(self, other: StreamingFields) -> None:
        """Add all tasks that ``other`` has seen."""
        self._flush()
        other._flush()
        self._stream.merge(other._stream)
        self._field += other._field
        self._power += other._power

    def result(self) -> Fields:
        """Of the tasks so far; more may follow."""
        self._flush()
        tasks = self._stream.rows
        gram = self._stream.gram()
        gram /= tasks
        return Fields(
            gram, self._field / tasks, self._power / tasks, tasks, self.dimension, self.prompt_length
        )

    def feature_values(self) -> SingularValues:
        """Singular values of the tasks x spins matrix of features, with bounds."""
        self._flush()
        return self._stream.result()

    def _flush(self) -> None:
        if self._filled:
            self._stream.update(self._buffer[: self._filled])
            self._filled = 0


def fields(tasks: Tasks | Prompts | Iterable[Prompts | Statistics]) -> Fields:
    """Couplings and fields of tasks, read once, some at a time."""
    if isinstance(tasks, Tasks):
        stream = StreamingFields(tasks.dimension, tasks.prompt_length)
        for statistics in tasks.statistics():
            stream.update(statistics)
        return stream.result()
    raise NotImplementedError
