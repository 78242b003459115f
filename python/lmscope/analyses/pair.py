"""One pair of packed matrices: DOCS with its null, and the histogram of cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.analyses.similarity import Docs, chance_maximum, docs_of_cosines, sign_null

if TYPE_CHECKING:
    from lmscope.kernels.column_cosine import PackedColumns

__all__ = ["PairSimilarity", "compare_pair", "identical_pair"]

BINS = 2048


@dataclass(frozen=True)
class PairSimilarity:
    """DOCS and the histogram: ``counts`` are those of the bins from ``first_bin`` on, of 2048 over [-1, 1];
    all others are empty."""

    docs: Docs
    first_bin: int
    counts: npt.NDArray[np.int64]


def compare_pair(
    x: PackedColumns, y: PackedColumns, *, null_draws: int, seed: int, false_positive_rate: float
) -> PairSimilarity:
    """:func:`lmscope.docs` of two matrices and the histogram from the same comparison.

    A side without a column of norm above zero gives NaN in every number but the counts of columns.
    """
    from lmscope.kernels.column_cosine import column_cosine

    zeros_x, zeros_y = len(x.zero_columns), len(y.zero_columns)
    if zeros_x == x.columns or zeros_y == y.columns:
        return PairSimilarity(_blank(zeros_x, zeros_y), 0, np.empty(0, np.int64))
    cosines = column_cosine(x, y, bins=BINS)
    null = sign_null(x, y, draws=null_draws, seed=seed)
    found = docs_of_cosines(cosines, x.depth, null=null, false_positive_rate=false_positive_rate)
    filled = np.flatnonzero(cosines.counts)
    return PairSimilarity(found, int(filled[0]), cosines.counts[filled[0] : filled[-1] + 1])


def identical_pair(x: PackedColumns) -> PairSimilarity:
    """What a matrix and its copy have, without a comparison: score 1, every column matched by itself."""
    zeros = len(x.zero_columns)
    found = _blank(zeros, zeros)
    if zeros < x.columns:
        found = replace(
            found,
            score=1.0,
            baseline=chance_maximum(x.depth, x.columns - zeros),
            excess=1.0,
            location_x=1.0,
            location_y=1.0,
            scale_x=0.0,
            scale_y=0.0,
            mean_x=1.0,
            mean_y=1.0,
            fit_distance=0.0,
            matched_share=1.0,
            mutual_share=1.0,
        )
    return PairSimilarity(found, 0, np.empty(0, np.int64))


def _blank(zeros_x: int, zeros_y: int) -> Docs:
    values: dict[str, Any] = {field.name: math.nan for field in fields(Docs)}
    return Docs(**{**values, "pairs": 0, "zero_columns_x": zeros_x, "zero_columns_y": zeros_y})
