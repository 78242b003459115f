"""Largest singular values of a matrix with its signs flipped or its entries permuted at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["TopValues", "permutation_top_values", "permute_entries", "sign_flip_top_values"]


@dataclass(frozen=True, repr=False)
class TopValues:
    """Largest singular value of every draw.

    Attributes:
        values: float64, shape (draws,), in the order of the draws, in the units of the matrix.
        bounds: float64, same shape: absolute error bounds, see :func:`sign_flip_top_values`.
        steps: int64, same shape: Lanczos steps taken.
    """

    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return (
            f"TopValues({len(self.values)} draws from {self.values.min():.6g} to {self.values.max():.6g}, "
            f"bounds up to {self.bounds.max():.2g})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Largest singular value of each of {len(self.values)} draws",
            html_repr.facts(
                [
                    ("largest", html_repr.number(float(self.values.max()))),
                    ("smallest", html_repr.number(float(self.values.min()))),
                    ("largest error bound", f"{self.bounds.max():.2g}"),
                ]
            ),
        )


def sign_flip_top_values(w: Any, *, draws: int = 19, seed: int = 0, rtol: float = 1e-4) -> TopValues:
    """Largest singular value of ``w`` with the sign of every entry flipped by a fair coin, draw by draw.

    Keeps the magnitude of every entry where it stands, hence row, column and every other variance profile;
    destroys every agreement of signs between entries, which is what a low-rank part consists of (Hong, Sheng
    and Dobriban, "Selecting the number of components in PCA via random signflips", arXiv 2012.02985).

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides; not
            copied.
        draws: how many; all share every pass over the matrix.
        seed: 0 to 2**64 - 1. The sign of entry (row, column) in draw d is a function of (seed, d, row,
            column) alone, written out in :mod:`lmscope.reference.randomized_nulls`; more draws leave the
            first ones as they are.
        rtol: relative accuracy at which a draw ends. The largest value of noise itself spreads by about the
            -2/3 power of the smaller side, 0.4 % at 4096.

    Returns:
        Values and bounds. A draw ends at the first Lanczos step whose residual norm is at most ``2 * rtol``
        times the largest eigenvalue of A^T A that it found. That eigenvalue is within the residual norm of a
        true one, which gives the bound, together with 2e-6 for float32 products
        (csrc/randomized_nulls/README.md). That it is the largest one has probability 1 over the random start
        vector; the actual error is about the square of the relative residual over the relative gap, mostly a
        hundred times below the bound.

    Raises:
        ValueError: empty matrix, not 2-D, NaN/Inf (named with row and column), or draws, seed or rtol out of
            range.
        TypeError: not an array, another dtype, or a CUDA tensor.

    The same bits for any number of threads. Instruction sets agree within the bounds.
    """
    return TopValues(*_core.sign_flip_top_values(w, draws, _checked(seed), rtol))


def permutation_top_values(w: Any, *, draws: int = 19, seed: int = 0, rtol: float = 1e-4) -> TopValues:
    """Largest singular value of ``w`` with all its entries permuted at random, draw by draw.

    Keeps the entries, so their mean, tails and kurtosis; destroys their places, so also row and column
    variances. All permutations are equally likely (to within 2**-30). One permuted copy in the stored dtype
    lives at a time. Arguments, bounds and errors as in :func:`sign_flip_top_values`.
    """
    return TopValues(*_core.permutation_top_values(w, draws, _checked(seed), rtol))


def permute_entries(w: Any, *, seed: int = 0, draw: int = 0) -> npt.NDArray[Any]:
    """What :func:`permutation_top_values` makes for ``draw``: numpy, same shape and dtype, row-major."""
    permuted = _core.permute_entries(w, _checked(seed), draw)
    name = str(w.dtype).removeprefix("torch.")
    if name == "bfloat16":
        from ml_dtypes import bfloat16

        return permuted.view(bfloat16)
    return permuted.view(np.dtype(name))


def _checked(seed: int) -> int:
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in 0 .. 2**64 - 1, got {seed}")
    return seed
