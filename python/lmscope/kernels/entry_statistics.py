"""Moments of the entries of a matrix, and the variances of its rows and columns, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["EntryStatistics", "entry_statistics"]


@dataclass(frozen=True, repr=False)
class EntryStatistics:
    """Statistics of all entries of a matrix; NaN where all entries are equal and the quantity is a ratio.

    Attributes:
        shape: (rows, columns).
        largest: largest magnitude of an entry.
        mean, standard_deviation: of all entries (divided by their number), in the units of the matrix.
        skewness, kurtosis: third and fourth standardised moments; kurtosis is 3 for Gaussian entries.
        row_variances: float64, shape (rows,): mean squared deviation of a row's entries from the mean of all
            entries, over the variance of all entries; the mean of the row variances is 1.
        column_variances: float64, shape (columns,), likewise.
    """

    shape: tuple[int, int]
    largest: float
    mean: float
    standard_deviation: float
    skewness: float
    kurtosis: float
    row_variances: npt.NDArray[np.float64]
    column_variances: npt.NDArray[np.float64]

    @property
    def row_variance_spread(self) -> float:
        """Coefficient of variation of the row variances; sqrt((kurtosis - 1) / columns) for iid entries."""
        return float(np.std(self.row_variances))

    @property
    def column_variance_spread(self) -> float:
        """Coefficient of variation of the column variances; sqrt((kurtosis - 1) / rows) for iid entries."""
        return float(np.std(self.column_variances))

    def __repr__(self) -> str:
        return (
            f"EntryStatistics({self.shape[0]} x {self.shape[1]}: mean={self.mean:.4g}, "
            f"standard_deviation={self.standard_deviation:.4g}, kurtosis={self.kurtosis:.4g}, "
            f"row_variance_spread={self.row_variance_spread:.3g}, "
            f"column_variance_spread={self.column_variance_spread:.3g})"
        )

    def _repr_html_(self) -> str:
        names = ("largest", "mean", "standard_deviation", "skewness", "kurtosis")
        spreads = ("row_variance_spread", "column_variance_spread")
        return html_repr.block(
            f"Entries of a {html_repr.shape(self.shape)} matrix",
            html_repr.facts(
                (name.replace("_", " "), html_repr.number(getattr(self, name))) for name in (*names, *spreads)
            ),
        )


def entry_statistics(w: Any) -> EntryStatistics:
    """Statistics of the entries of ``w`` in float64, same bits for any number of threads.

    Moments are merged from central moments of short lines (Pebay, SAND2008-6212); row and column variances
    come from sums of squares, so they lose digits where the mean of the entries exceeds their standard
    deviation 1e5 times.

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides; not
            copied.

    Raises:
        ValueError: empty matrix, not 2-D, or NaN/Inf (named with row and column).
        TypeError: not an array, another dtype, or a CUDA tensor.
    """
    sums = _core.entry_statistics(w)
    rows, columns = len(sums["row_sums"]), len(sums["column_sums"])
    variance = sums["central2"] / (rows * columns)
    mean = sums["mean"]
    # Rounding of the mean leaves up to this much where all entries are equal.
    constant = variance <= (1e-12 * mean) ** 2

    def relative(
        squares: npt.NDArray[np.float64], totals: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        if constant:
            return np.full(len(squares), np.nan)
        count = rows * columns / len(squares)
        found: npt.NDArray[np.float64] = (squares / count - 2 * mean * (totals / count) + mean**2) / variance
        return np.maximum(found, 0.0)

    unit = 2.0 ** sums["exponent"]
    return EntryStatistics(
        shape=(rows, columns),
        largest=sums["largest"] * unit,
        mean=mean * unit,
        standard_deviation=0.0 if constant else variance**0.5 * unit,
        skewness=np.nan if constant else sums["central3"] / (rows * columns) / variance**1.5,
        kurtosis=np.nan if constant else sums["central4"] / (rows * columns) / variance**2,
        row_variances=relative(sums["row_squares"], sums["row_sums"]),
        column_variances=relative(sums["column_squares"], sums["column_sums"]),
    )
