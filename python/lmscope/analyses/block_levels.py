"""Traces that quantisation leaves in weights which were written out again in a wider type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lmscope import html_repr
from lmscope.analyses.intake import matrix, whole

__all__ = ["BlockLevels", "levels_per_block"]

_REPEATED = 3
_FOUR_BITS = 16


@dataclass(frozen=True, repr=False)
class BlockLevels:
    """How many different values neighbouring weights take.

    Of 32 numbers from a continuous law bfloat16 makes 31 or 32 different ones, as its numbers lie as dense
    relative to their size everywhere; weights that were quantised to integers with a scale for each block
    take 2^bits values at most. Found on Gaussian weights: 12 at 4 bits with a scale for 32 weights, 18 at 5,
    24 at 6, 30 at 8; 13 for FP4, 22 to 26 for FP8.

    So 4 bits and fewer always show, 5 and 6 as well, 8-bit floats too; 8-bit integers with a scale for 32 or
    fewer weights do not, and with coarser scales hardly. Quantisation in blocks along the output, and one
    that was trained on afterwards, do not show either. Zeros of pruned weights are not taken for levels.

    Attributes:
        levels: median number of different values in a block; None where rows are shorter than one.
        repeated: median number of weights other than 0 in a block less the different ones among them.
        block: consecutive weights along the input.
        blocks: how many were looked at.
        quantised: ``repeated`` is at least 3. Gaussian weights in bfloat16 are called so with probability
            0.0085 for a matrix of one block of 32, and below 1e-6 from 9 blocks on; in a finer type less.
    """

    levels: float | None
    repeated: float | None
    block: int
    blocks: int

    @property
    def quantised(self) -> bool:
        return self.repeated is not None and self.repeated >= _REPEATED

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
                    ("repeated", html_repr.number(self.repeated)),
                    ("blocks", self.blocks),
                ]
            ),
            html_repr.line(self.warning or "No trace of quantisation."),
        )


def levels_per_block(w: Any, block: int = 32, *, blocks: int = 4096, seed: int = 0) -> BlockLevels:
    """Count different values in blocks of consecutive weights along the input, as quantisers cut them.

    Args:
        w: out x in, numpy or torch on the CPU, float64, float32, float16 or bfloat16.
        block: weights in one; blocks begin at multiples of it, and what is left of a row is not read.
        blocks: most that are read, drawn at random.
        seed: of what is drawn.

    Raises:
        ValueError: not a matrix, or a block of less than 2.
        TypeError: another dtype, or a CUDA tensor.
    """
    weights = matrix("w", w)
    block, blocks = whole("block", block, 2), whole("blocks", blocks, 1)
    in_row = weights.shape[1] // block
    total = weights.shape[0] * in_row
    if not total:
        return BlockLevels(None, None, block, 0)
    chosen = np.arange(total) if total <= blocks else np.random.default_rng(seed).integers(0, total, blocks)
    columns = (chosen % in_row * block)[:, None] + np.arange(block)
    ordered = np.sort(weights[(chosen // in_row)[:, None], columns].astype(np.float64), axis=1)
    different = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
    zeros = np.count_nonzero(ordered == 0, axis=1)
    repeated = (block - zeros) - (different - (zeros > 0))
    return BlockLevels(float(np.median(different)), float(np.median(repeated)), block, chosen.size)
