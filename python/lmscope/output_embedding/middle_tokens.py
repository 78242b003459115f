"""Which tokens are steered where none are named."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["middle_tokens"]


def middle_tokens(
    log_probability: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    *,
    count: int = 20,
    seed: int = 0,
    special: npt.ArrayLike = (),
    fewest: int = 5,
) -> npt.NDArray[np.int64]:
    """Ids of tokens of middling frequency, ascending.

    Args:
        log_probability: log of the mean probability on the fitting text, shape (vocabulary,).
        counts: occurrences in the fitting text, shape (vocabulary,).
        special: ids that are left out.
        fewest: occurrences that a token must have.
    """
    raise NotImplementedError
