"""Traces that quantisation leaves in weights which were written out again in a wider type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import matrix, whole
from lmscope.analyses.rounding import grid_of

__all__ = ["BlockLevels", "levels_per_block"]

_SHARE_REPEATED = 3 / 32
_FOUR_BITS = 16
_LEAST_NONZERO = 8
_NONZERO_WANTED = 16
_FEW_LEVELS = 3
_LEAST_ROWS = 8
_ROWS_COMPARED = 64

_Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class BlockLevels:
    """How many different values neighbouring weights take.

    Of 32 numbers from a continuous law bfloat16 makes 31 or 32 different ones, as its numbers lie as dense
    relative to their size everywhere; weights that were quantised to integers with a scale for each block
    take 2^bits values at most. Found on Gaussian weights: 12 at 4 bits with a scale for 32 weights, 18 at 5,
    24 at 6, 30 at 8; 13 for FP4, 22 to 26 for FP8.

    So 4 bits and fewer always show, 5 and 6 as well, 8-bit floats too; 8-bit integers with a scale for 32 or
    fewer weights do not, and with coarser scales hardly. Quantisation in blocks along the output, and one
    that was trained on afterwards, do not show either.

    Weights repeat for other reasons too. Zeros of pruned weights are no levels: repeats are counted among the
    others, in blocks that are longer where these are few, so that a scale for fewer weights than that does
    not show. Weights that the stored type holds coarsely, such as bfloat16 ones around a mean or float16 ones
    below its normal numbers, take neighbouring numbers of the type as often as equal ones, where levels leave
    gaps. The ends of a block's range are not counted where more than three values occur, as they may be
    clipped; of columns that are copies of another only one counts, and blocks of one value (constant or
    padded rows) not at all. What cannot be told: signs times a scale, whatever made them, are taken for one
    bit; weights clipped to three values or fewer, for two; levels that are neighbouring numbers of the stored
    type are taken for the type's.

    Attributes:
        levels: median number of different values in a block; None where no block could be judged.
        repeated: median share of repeats among the weights other than 0: those less their different values.
        equal: pairs of equal weights among those counted, without those beside whose value a neighbouring
            number of the stored type occurs in the block.
        adjacent: pairs of weights that are neighbouring numbers of the stored type. A continuous law makes
            more than twice as many as equal ones.
        block: consecutive weights along the input.
        blocks: how many were judged: of those looked at, the ones with eight weights other than 0, of two
            values at least.
        quantised: ``repeated`` is at least 3/32, and ``equal`` more than twice ``adjacent``. Gaussian weights
            in bfloat16 are called so with probability 0.006 for a matrix of one block of 32, and below 1e-6
            from 9 blocks on; in a finer type less.
    """

    levels: float | None
    repeated: float | None
    equal: int
    adjacent: int
    block: int
    blocks: int

    @property
    def quantised(self) -> bool:
        return (
            self.repeated is not None and self.repeated >= _SHARE_REPEATED and self.equal > 2 * self.adjacent
        )

    @property
    def warning(self) -> str:
        """A sentence, or "" where nothing was found."""
        if not self.quantised or self.levels is None:
            return ""
        bits = "4 bits or fewer" if self.levels <= _FOUR_BITS else "5 to 8 bits"
        return (
            f"{self.block} consecutive weights take only {self.levels:g} different values: they were "
            f"quantised to about {bits} and written out again, which disturbs the smallest singular values "
            f"and their vectors the most."
        )

    def __repr__(self) -> str:
        return (
            f"BlockLevels({html_repr.number(self.levels)} different values in {self.block} weights, "
            f"quantised={self.quantised}, blocks={self.blocks})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Different values in {self.block} consecutive weights",
            html_repr.facts(
                [
                    ("median", html_repr.number(self.levels)),
                    ("share of repeats", html_repr.number(self.repeated)),
                    ("equal pairs", self.equal),
                    ("pairs of neighbouring numbers", self.adjacent),
                    ("blocks", self.blocks),
                ]
            ),
            html_repr.line(self.warning or "No trace of quantisation."),
        )


def levels_per_block(w: Any, block: int = 32, *, blocks: int = 4096, seed: int = 0) -> BlockLevels:
    """Count different values in blocks of consecutive weights along the input, as quantisers cut them.

    Args:
        w: out x in, numpy or torch on the CPU, float64, float32, float16 or bfloat16; finite.
        block: weights in one; blocks begin at multiples of it, and what is left of a row is not read. Where
            fewer than eight of them differ from 0, blocks are made so long that sixteen do, up to a row.
        blocks: most that are read, drawn at random.
        seed: of what is drawn.

    Raises:
        ValueError: not a matrix, or a block of less than 2.
        TypeError: another dtype, or a CUDA tensor.
    """
    weights = matrix("w", w)
    block, blocks = whole("block", block, 2), whole("blocks", blocks, 1)
    random = np.random.default_rng(seed)
    drawn = _draw(weights, block, blocks, random)
    if not drawn.size:
        return BlockLevels(None, None, 0, 0, block, 0)
    nonzero = np.count_nonzero(drawn) / drawn.size * block
    if 0 < nonzero < _LEAST_NONZERO:
        block = min(weights.shape[1], block * math.ceil(_NONZERO_WANTED / nonzero))
        drawn = _draw(weights, block, blocks, random)
    return _judge(drawn, block)


def _draw(weights: _Array, block: int, blocks: int, random: np.random.Generator) -> _Array:
    """Blocks x weights, as stored; copies of a column are 0."""
    in_row = weights.shape[1] // block
    total = weights.shape[0] * in_row
    chosen = np.arange(total) if total <= blocks else random.integers(0, total, blocks)
    columns = (chosen % max(in_row, 1) * block)[:, None] + np.arange(block)
    drawn: _Array = weights[(chosen // max(in_row, 1))[:, None], columns]
    if len(weights) >= _LEAST_ROWS:
        drawn[_copies(weights, random)[columns]] = 0
    return drawn


def _copies(weights: _Array, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Columns that are copies of an earlier one, on a sample of rows."""
    rows = random.choice(len(weights), min(len(weights), _ROWS_COMPARED), replace=False)
    found = np.ones(weights.shape[1], bool)
    sample = np.ascontiguousarray(weights[np.sort(rows)].T)
    seen: dict[bytes, int] = {column.tobytes(): place for place, column in reversed(list(enumerate(sample)))}
    found[list(seen.values())] = False
    return found


def _judge(drawn: _Array, block: int) -> BlockLevels:
    """Runs of equal weights in sorted blocks, without zeros."""
    spacing = _spacing(drawn)
    drawn = drawn.astype(np.float64)
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered, spacing = (np.take_along_axis(of, order, axis=1) for of in (drawn, spacing))
    row, place = np.nonzero(ordered)
    value, step = ordered[row, place], spacing[row, place]
    first = np.flatnonzero(np.r_[True, (np.diff(row) > 0) | (np.diff(value) > 0)][: len(row)])
    count = np.diff(np.r_[first, len(row)])
    row, value, step = row[first], value[first], step[first]
    different, weights = (np.bincount(row, of, len(drawn)).astype(int) for of in (None, count))
    judged = (weights >= _LEAST_NONZERO) & (different > 1)
    if not judged.any():
        return BlockLevels(None, None, 0, 0, block, 0)
    same_row = np.diff(row) == 0
    inside = np.r_[False, same_row] & np.r_[same_row, False]
    counted = judged[row] & (inside | (different[row] <= _FEW_LEVELS))
    all_of = np.bincount(row[counted], count[counted], len(drawn))[judged]
    different_of = np.bincount(row[counted], minlength=len(drawn))[judged]
    close = same_row & (np.diff(value) <= 1.5 * np.maximum(step[1:], step[:-1]))
    alone = counted & ~np.r_[False, close] & ~np.r_[close, False]
    close &= counted[1:] & counted[:-1]
    levels = different[judged] + (weights < block)[judged]
    return BlockLevels(
        float(np.median(levels)),
        float(np.median(1 - different_of / all_of)),
        int((count * (count - 1) // 2)[alone].sum()),
        int((count[1:] * count[:-1])[close].sum()),
        block,
        int(np.count_nonzero(judged)),
    )


def _spacing(drawn: _Array) -> npt.NDArray[np.float64]:
    grid = grid_of(drawn)
    spacing: npt.NDArray[np.float64] = np.ldexp(grid.coarsest, -grid.halvings.astype(np.int64))
    return spacing
