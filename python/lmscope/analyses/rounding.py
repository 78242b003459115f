"""How far apart the numbers of a type lie around stored values, and random rounding errors of that size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from lmscope.kernels.randomized_nulls import TopValues, sign_flip_top_values

__all__ = [
    "PRECISIONS",
    "Grid",
    "grid_of",
    "root_mean_square_error",
    "rounding_errors",
    "rounding_top_values",
    "row_blocks",
]

PRECISIONS = {"bfloat16": (7, -126), "float16": (10, -14), "float32": (23, -126), "float64": (52, -1022)}
"""Type -> bits of its fraction, and exponent of its smallest normal number."""

_BLOCK_ENTRIES = 2**18
_MOST_HALVINGS = 255
_HALVED = np.ldexp(np.float32(1), -np.arange(_MOST_HALVINGS + 1))
"""Float32; 0 from 150 halvings on."""


@dataclass(frozen=True)
class Grid:
    """Spacing of the numbers of one type around every entry of a matrix.

    Attributes:
        precision: the type, one of ``PRECISIONS``.
        coarsest: largest spacing in the matrix.
        halvings: uint8, rows x columns: the spacing at an entry is ``coarsest * 2**-halvings``. 255 stands
            for everything finer, which adds nothing to an error of the matrix.
    """

    precision: str
    coarsest: float
    halvings: npt.NDArray[np.uint8]

    @property
    def root_mean_square_error(self) -> float:
        """Root of the mean of spacing^2 / 12 over the entries, that of one rounding."""
        counts = np.bincount(self.halvings.ravel(), minlength=_MOST_HALVINGS + 1)
        squares = float(counts @ _HALVED.astype(np.float64) ** 2) / self.halvings.size
        return self.coarsest * math.sqrt(squares / 12)


def row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that together hold about 2^18 entries each."""
    step = max(1, _BLOCK_ENTRIES // max(1, shape[1]))
    return (slice(first, first + step) for first in range(0, shape[0], step))


def grid_of(values: npt.NDArray[Any]) -> Grid:
    """The grid of the coarsest type that holds every entry of ``values``, a finite matrix.

    Coarsest is the one of the largest mean square spacing: a float32 file that holds bfloat16 values has the
    grid of bfloat16. Around x the spacing is ``2**(max(floor(log2 |x|), smallest exponent) - fraction
    bits)``: the same in all of a binade, below the smallest normal number that of the subnormal ones.
    """
    short = [name for name in ("bfloat16", "float16") if _holds(values, name)]
    names = short or (["float32"] if _holds(values, "float32") else ["float64"])
    return max((_grid(values, name) for name in names), key=lambda grid: grid.root_mean_square_error)


def root_mean_square_error(grids: Sequence[Grid]) -> float:
    """Over the entries of what `rounding_errors` draws, in the matrices' units."""
    if len(grids) == 1:
        return grids[0].root_mean_square_error
    unit = max(grid.coarsest for grid in grids)
    squares = 0.0
    for rows in row_blocks(grids[0].halvings.shape):
        one, other = (spacing.astype(np.float64) for spacing in _spacings(grids, rows, unit))
        finer = np.minimum(one, other)[one != other]
        squares += float(np.sum(one**2) + np.sum(other**2) + np.sum(finer**2))
    return unit * math.sqrt(squares / grids[0].halvings.size / 12)


def rounding_errors(grids: Sequence[Grid], *, seed: int, draw: int) -> npt.NDArray[np.float32]:
    """Errors that rounding to ``grids`` (one or two, of one shape) leaves in a matrix or in a difference.

    For one grid, uniform within half a spacing of 0. For two, the difference of both roundings: where their
    spacings are equal, the sum of two independent errors; where one is a multiple of the other, an error of
    the coarser, rounded to the finer grid. That is the law for two roundings of one number, and its variance,
    (coarser^2 + 2 finer^2) / 12, is above that of independent errors.

    In units of the coarsest spacing of all grids, so that errors of the smallest numbers do not underflow.
    Float32, rows x columns, a function of grids, seed and draw.
    """
    unit = max(grid.coarsest for grid in grids)
    random = np.random.default_rng([seed, draw])
    errors = np.empty(grids[0].halvings.shape, np.float32)
    for rows in row_blocks(errors.shape):
        drawn = random.random((len(grids), *errors[rows].shape), dtype=np.float32)
        drawn -= np.float32(0.5)
        spacings = _spacings(grids, rows, unit)
        if len(grids) == 1:
            np.multiply(drawn[0], spacings[0], out=errors[rows])
            continue
        # Drawn numbers are multiples of 2^-24: finer grids change nothing.
        steps = np.minimum(np.abs(_exponents(grids[0], rows) - _exponents(grids[1], rows)), 24)
        nested = np.ldexp(np.rint(np.ldexp(drawn[0], steps)), -steps)
        coarser = np.maximum(*spacings)
        np.multiply(np.where(steps > 0, nested, drawn[0] + drawn[1]), coarser, out=errors[rows])
    return errors


def _spacings(grids: Sequence[Grid], rows: slice, unit: float) -> list[npt.NDArray[np.float32]]:
    return [(_HALVED * np.float32(grid.coarsest / unit))[grid.halvings[rows]] for grid in grids]


def _exponents(grid: Grid, rows: slice) -> npt.NDArray[np.int32]:
    return math.frexp(grid.coarsest)[1] - grid.halvings[rows].astype(np.int32)


def rounding_top_values(grids: Sequence[Grid], *, draws: int, seed: int) -> TopValues:
    """Largest singular value of each of ``draws`` matrices of `rounding_errors`, in the matrices' units.

    Bounds and errors as in :func:`lmscope.kernels.randomized_nulls.sign_flip_top_values`, whose random signs
    leave the law of the errors as it is. One drawn matrix lives at a time.
    """
    unit = max(grid.coarsest for grid in grids)
    tops = [
        sign_flip_top_values(rounding_errors(grids, seed=seed, draw=draw), draws=1, seed=seed)
        for draw in range(draws)
    ]
    return TopValues(
        unit * np.concatenate([top.values for top in tops]),
        unit * np.concatenate([top.bounds for top in tops]),
        np.concatenate([top.steps for top in tops]),
    )


def _holds(values: npt.NDArray[Any], precision: str) -> bool:
    narrow = np.dtype(getattr(ml_dtypes, precision, precision))
    if values.dtype == narrow:
        return True
    with np.errstate(over="ignore", under="ignore"):
        return all(
            bool((block.astype(narrow).astype(np.float64) == block.astype(np.float64)).all())
            for block in (values[rows] for rows in row_blocks(values.shape))
        )


def _grid(values: npt.NDArray[Any], precision: str) -> Grid:
    fraction_bits, smallest = PRECISIONS[precision]
    exponents = np.empty(values.shape, np.int16)
    for rows in row_blocks(values.shape):
        bits = np.ascontiguousarray(values[rows], dtype=np.float64).view(np.int64)
        # Those of float64: the subnormal numbers of all shorter types are normal there.
        exponents[rows] = ((bits >> 52) & 0x7FF) - 1023
    np.maximum(exponents, smallest, out=exponents)
    top = int(exponents.max())
    halvings = np.minimum(top - exponents, _MOST_HALVINGS).astype(np.uint8)
    return Grid(precision, math.ldexp(1.0, top - fraction_bits), halvings)
