"""Average probabilities in float64, a block of the vocabulary at a time, in two passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

__all__ = ["log_averages"]

_ROWS = 4096


def log_averages(states: npt.NDArray[Any], weight: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Logarithm of each token's mean probability."""
    wide = states.astype(np.float64)
    normaliser = np.full(len(wide), -np.inf)
    for logits in _blocks(wide, weight):
        normaliser = np.logaddexp(normaliser, logsumexp(logits, axis=0))
    found = [logsumexp(logits - normaliser, axis=1) for logits in _blocks(wide, weight)]
    averages: npt.NDArray[np.float64] = np.concatenate(found) - np.log(len(wide))
    return averages


def _blocks(states: npt.NDArray[np.float64], weight: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(weight), _ROWS):
        yield weight[start : start + _ROWS].astype(np.float64) @ states.T
