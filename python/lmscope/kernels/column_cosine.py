"""Cosines of all pairs of columns: histogram and nearest partners, without the matrix of pairs."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core

__all__ = ["ColumnCosine", "PackedColumns", "column_cosine"]

_MOST_BINS = 65536


@dataclass(frozen=True, repr=False)
class ColumnCosine:
    """Cosines between the columns of x and those of y.

    Attributes:
        counts: int64, shape (bins,): pairs by cosine; they add up to the number of pairs.
        edges: float64, shape (bins + 1,): equal steps from -1 to 1; a bin holds its lower edge, the last
            one both.
        max_abs_x: float64, shape (columns of x,): largest ``|cosine|`` with any column of y, recomputed in
            float64; NaN for a column without a partner.
        max_abs_y: the same for the columns of y.
        argmax_x: int64, shape (columns of x,): the column of y that attains it, -1 without a partner.
        argmax_y: the same for the columns of y.
        zero_columns_x: int64: columns of x of norm zero; they are in no pair.
        zero_columns_y: the same for y.
    """

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]
    max_abs_x: npt.NDArray[np.float64]
    max_abs_y: npt.NDArray[np.float64]
    argmax_x: npt.NDArray[np.int64]
    argmax_y: npt.NDArray[np.int64]
    zero_columns_x: npt.NDArray[np.int64]
    zero_columns_y: npt.NDArray[np.int64]

    @property
    def pairs(self) -> int:
        """Pairs compared."""
        return int(self.counts.sum())

    def __repr__(self) -> str:
        best = np.nanmax(self.max_abs_x) if np.isfinite(self.max_abs_x).any() else np.nan
        return (
            f"ColumnCosine({self.pairs} pairs of {len(self.max_abs_x)} x {len(self.max_abs_y)} columns, "
            f"{len(self.counts)} bins, largest |cosine| {best:.6g})"
        )


class PackedColumns:
    """The columns of a matrix, laid out once for any number of comparisons.

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides. What is
            compared are its columns; pass the transpose where the vectors are rows.

    bfloat16 stays two bytes an element, float16 and float32 take four, float64 eight. Every column is
    divided by a power of two, so that neither subnormal nor huge columns lose anything. Immutable; may be
    used by several threads.

    Raises:
        ValueError: empty matrix, not 2-D, or NaN/Inf (named with row and column).
        TypeError: not an array, another dtype, or a CUDA tensor.
    """

    def __init__(self, w: Any) -> None:
        self._packed = _core.PackedColumns(w, "w")

    def with_signs(self, negative: npt.NDArray[np.bool_]) -> PackedColumns:
        """The same columns with signs turned where ``negative`` is true: of whole rows where its shape is
        (depth,), of single elements where it is (depth, columns)."""
        turned = PackedColumns.__new__(PackedColumns)
        turned._packed = self._packed.with_signs(negative)
        return turned

    @property
    def depth(self) -> int:
        """Length of a column."""
        return self._packed.depth

    @property
    def columns(self) -> int:
        """Columns of the matrix, those of norm zero included."""
        return self._packed.columns

    @property
    def zero_columns(self) -> npt.NDArray[np.int64]:
        """Columns of norm zero, ascending; they are left out of every comparison."""
        return self._packed.zero_columns

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return self._packed.nbytes

    def __repr__(self) -> str:
        return f"PackedColumns({self.depth} x {self.columns}, {self.nbytes} bytes)"


def column_cosine(x: Any, y: Any = None, *, bins: int = 2048) -> ColumnCosine:
    """Histogram of the cosines of all pairs of columns, and every column's nearest partner.

    Args:
        x: depth x columns: an array of the types that :class:`PackedColumns` takes, or one of those.
        y: depth x columns of its own, or None: the columns of x with each other, every unordered pair once
            and no column with itself.
        bins: 2 to 65536, of equal width over [-1, 1].

    Returns:
        Exact counts of the cosines as computed. A computed cosine is off by at most 2e-6 (bfloat16, float16
        and float32: exact or float32 products, summed in float32 over at most 384 rows, then in a second
        float32 sum of at most 16 of those, then in a third) or 1e-12 (float64 on either side); a pair may be
        counted in the neighbouring bin only where it lies that close to an edge. The maxima are recomputed
        in float64 from the pairs that attain them, so that a column and its copy have cosine 1; the pair
        itself is the largest one as computed, the lowest column among equals. The error is probabilistic,
        see csrc/column_cosine/README.md.

        Memory beyond the packed columns: the results (16 bytes a column), 8 bytes a column, a few megabytes a
        thread, and at most 24 MB for up to a million columns: 34 MB in all for a million on one side. The
        same bits for any number of threads.

    Raises:
        ValueError: what :class:`PackedColumns` raises, different depths, no column of norm above zero, bins
            out of range.
        TypeError: not an array, another dtype, or a CUDA tensor; bins that are no integer.
    """
    try:
        bins = operator.index(bins)
    except TypeError:
        raise TypeError(f"bins must be an integer, got {bins!r}") from None
    if not 2 <= bins <= _MOST_BINS:
        raise ValueError(f"bins must lie between 2 and {_MOST_BINS}, got {bins}")
    packed_x = packed(x, "x")
    packed_y = None if y is None else packed(y, "y")
    counts, max_abs_x, max_abs_y, argmax_x, argmax_y = _core.column_cosine(
        packed_x._packed, None if packed_y is None else packed_y._packed, bins
    )
    return ColumnCosine(
        counts=counts,
        edges=np.linspace(-1.0, 1.0, bins + 1),
        max_abs_x=max_abs_x,
        max_abs_y=max_abs_y,
        argmax_x=argmax_x,
        argmax_y=argmax_y,
        zero_columns_x=packed_x.zero_columns,
        zero_columns_y=(packed_x if packed_y is None else packed_y).zero_columns,
    )


def packed(w: Any, argument: str) -> PackedColumns:
    """``w`` itself where it is packed, else its packing; errors name ``argument``."""
    if isinstance(w, PackedColumns):
        return w
    made = PackedColumns.__new__(PackedColumns)
    made._packed = _core.PackedColumns(w, argument)
    return made
