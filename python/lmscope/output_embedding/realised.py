"""What an edit of rows of the head does to next-token distributions, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Realised"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Realised:
    """What an edit of k rows does on one text.

    Attributes:
        factor: float64, shape (k,): mean probability after over the one before.
        low, high: float64, shape (k,): interval of the factor over windows; NaN where they are too few.
        before, after: float64, shape (k,): mean probabilities.
        js, kl: means over positions, in nats, over the whole distribution: Jensen-Shannon divergence, and
            Kullback-Leibler divergence of the edited distribution from the unedited one.
        others: mean over positions of log(Z / Z'), the change of every other token's log-probability.
        others_worst: the value of log(Z / Z') that is furthest from 0.
        positions: how many.
    """

    factor: Floats
    low: Floats
    high: Floats
    before: Floats
    after: Floats
    js: float
    kl: float
    others: float
    others_worst: float
    positions: int
