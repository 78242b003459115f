"""Mean and scatter of rows that are read a block at a time, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.analyses.intake import finite_rows

__all__ = ["RowMoments", "blocks", "rows_of"]

Floats = npt.NDArray[np.float64]

_BLOCK_BYTES = 8 << 20


@dataclass
class RowMoments:
    """Count, mean (columns,) and centred scatter (columns x columns) of the rows given so far.

    Blocks are centred on their own mean and joined by Chan's update, so that a mean that is large beside the
    spread costs no digits. ``varies`` (columns,) is False for columns of one value, whose scatter is exactly
    0; a scatter beyond float64 is Inf or NaN.
    """

    count: int
    mean: Floats
    scatter: Floats
    varies: npt.NDArray[np.bool_]

    @classmethod
    def of_columns(cls, columns: int) -> RowMoments:
        return cls(0, np.zeros(columns), np.zeros((columns, columns)), np.zeros(columns, dtype=bool))

    def update(self, block: Floats) -> None:
        """Adds rows; ``block`` is left centred."""
        if not len(block):
            return
        first, total = block[0].copy(), self.count + len(block)
        # The mean of equal values is rounded.
        constant = np.flatnonzero(first == block[-1])
        constant = constant[(block[:, constant] == first[constant]).all(axis=0)]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = block.mean(axis=0)
            mean[constant] = first[constant]
            block -= mean
            self.scatter += block.T @ block
            step = mean - self.mean
            self.scatter += np.outer(step, step * (self.count * len(block) / total))
            self.varies |= (step != 0) & (self.count > 0)
            self.mean += step * (len(block) / total)
        self.varies[np.setdiff1d(np.arange(len(mean)), constant)] = True
        self.count = total


def blocks(start: int, stop: int, columns: int) -> Iterator[slice]:
    """Slices of at most 8 MB of float64 rows, but of at least one row."""
    step = max(1, _BLOCK_BYTES // (8 * columns))
    for first in range(start, stop, step):
        yield slice(first, min(stop, first + step))


def rows_of(
    name: str, matrix: npt.NDArray[Any], chosen: slice | npt.NDArray[np.int64], *more: Floats
) -> Floats:
    """These rows in float64, one column behind them for each vector of ``more``.

    Raises:
        ValueError: NaN or Inf in ``matrix``, by row and column.
    """
    wide = matrix.shape[1]
    count = chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)
    block: Floats = np.empty((count, wide + len(more)))
    block[:, :wide] = matrix[chosen]
    if not np.isfinite(block[:, :wide].sum(axis=0)).all():
        for row in range(chosen.start, chosen.stop) if isinstance(chosen, slice) else chosen:
            finite_rows(name, matrix, slice(int(row), int(row) + 1))
    for column, values in enumerate(more):
        block[:, wide + column] = values[chosen]
    return block
