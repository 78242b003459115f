"""Which tokens are fitted, and the values that are regressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.analyses.intake import real

__all__ = ["check_targets", "token_mask", "values_of_tokens"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def token_mask(tokens: Any, vocabulary: int) -> Mask:
    """Bool of shape (V,) of a mask, of ids, or of None for all."""
    if tokens is None:
        return np.ones(vocabulary, dtype=bool)
    given = np.asarray(tokens)
    if given.ndim == 1 and given.dtype == np.bool_:
        if len(given) != vocabulary:
            raise ValueError(f"tokens, a mask, must be of shape ({vocabulary},), got {given.shape}")
        return np.array(given, dtype=bool)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(
            f"tokens must be a mask of {vocabulary} bools or one-dimensional ids, got {given.dtype} of shape "
            f"{given.shape}"
        )
    ids = given.astype(np.int64)
    outside = ids[(ids < 0) | (ids >= vocabulary)]
    if outside.size:
        raise ValueError(f"tokens: there is no token {outside[0]} in an embedding of {vocabulary} rows")
    mask = np.zeros(vocabulary, dtype=bool)
    mask[ids] = True
    return mask


def values_of_tokens(log_probability: Any, vocabulary: int) -> Floats:
    """In float64, Inf and NaN as they are."""
    array = real(log_probability)
    if array.shape != (vocabulary,):
        raise ValueError(
            f"log_probability must be of shape ({vocabulary},), as embedding has rows, got {array.shape}"
        )
    return array.astype(np.float64)


def check_targets(targets: Floats, used: Mask, dimensions: int) -> None:
    """ValueError where the fitted tokens' values cannot be regressed on as many dimensions."""
    count = int(used.sum())
    if count <= dimensions + 2:
        raise ValueError(
            f"tokens: {count} are too few for a regression on {dimensions} dimensions, which takes at least "
            f"{dimensions + 3}; fit more tokens, or give more text where only tokens that occur are fitted"
        )
    bad = np.flatnonzero(used & ~np.isfinite(targets))
    if bad.size:
        raise ValueError(
            f"log_probability of token {bad[0]} is {targets[bad[0]]} ({bad.size} such tokens in all); leave "
            "them out by tokens=np.isfinite(log_probability)"
        )
    if np.ptp(targets[used]) == 0:
        raise ValueError(
            f"log_probability is {targets[used][0]:.6g} for each of {count} tokens: there is nothing to fit"
        )
