"""What the type of stored weights, and quantisation before, leave of small singular values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.block_levels import BlockLevels, levels_per_block
from lmscope.analyses.intake import matrix, vector
from lmscope.analyses.rounding import grid_of, rounding_top_values

__all__ = ["StoredPrecision", "stored_precision"]

_SHORT = ("bfloat16", "float16")


@dataclass(frozen=True, repr=False)
class StoredPrecision:
    """Which singular values are not those of the weights before they were stored.

    Attributes:
        levels: traces of quantisation.
        precision: the coarsest type that holds every weight, whatever the file's.
        rounding: largest singular value of random rounding errors of that type; None where it is wider than
            16 bits, whose rounding lies far below any singular value of interest.
        n_below: singular values at most as large; None without ``rounding``.
        values: singular values of the matrix.
    """

    levels: BlockLevels
    precision: str
    rounding: float | None
    n_below: int | None
    values: int

    @property
    def warning(self) -> str:
        """Sentences, or "" where nothing was found."""
        found = [self.levels.warning]
        if self.rounding is not None and self.n_below:
            found.append(
                f"Rounding to {self.precision} alone gives singular values up to {self.rounding:.3g}: "
                f"{self.n_below} of the {self.values} are not larger, and they and their vectors are "
                f"rounding's."
            )
        return " ".join(filter(None, found))

    def __repr__(self) -> str:
        return (
            f"StoredPrecision({self.precision}, rounding={html_repr.number(self.rounding)}, "
            f"n_below={self.n_below}, {self.levels!r})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Weights held by {self.precision}",
            html_repr.facts(
                [
                    ("largest singular value of rounding", html_repr.number(self.rounding)),
                    ("singular values not larger", "–" if self.n_below is None else self.n_below),
                    ("different values in a block", html_repr.number(self.levels.levels)),
                ]
            ),
            html_repr.line(self.warning or "Nothing found that limits the small singular values."),
        )


def stored_precision(w: Any, values: npt.ArrayLike, *, seed: int = 0) -> StoredPrecision:
    """Hold the singular values of stored weights against rounding, and look for quantisation before.

    Args:
        w: out x in, as stored: numpy or torch on the CPU, float64, float32, float16 or bfloat16; finite.
        values: its singular values, in any order.
        seed: of one draw of rounding errors, whose largest singular value varies by a few percent, and of the
            blocks of :func:`lmscope.levels_per_block`.

    Raises:
        ValueError: not a matrix, or another number of values.
        TypeError: another dtype, or a CUDA tensor.
    """
    weights = matrix("w", w)
    smaller = min(weights.shape)
    singular = vector("values", values, length=smaller)
    levels = levels_per_block(weights, seed=seed)
    grid = grid_of(weights)
    rounding = n_below = None
    # A matrix of zeros has been rounded from nothing that one could tell.
    if grid.precision in _SHORT and singular.max() > 0:
        rounding = float(rounding_top_values([grid], draws=1, seed=seed).values[0])
        n_below = int(np.count_nonzero(singular <= rounding))
    return StoredPrecision(levels, grid.precision, rounding, n_below, smaller)
