"""Which windows are read where not all can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

__all__ = ["spread"]

Item = TypeVar("Item", bound=Any)


def spread(items: Sequence[Item], tokens: Sequence[int], most: int, seed: int) -> list[Item]:
    """Items of at most ``most`` tokens together, evenly spaced over all, in their order; at least one.

    Args:
        items: all that there are.
        tokens: how many each has.
        most: all items are taken where they have no more together.
        seed: decides how far from the first the spacing begins.
    """
    sizes = np.asarray(tokens)
    offset = np.random.default_rng([seed, len(items)]).random()
    count = len(items)
    while True:
        chosen = np.floor((np.arange(count) + offset) * len(items) / count).astype(np.int64)
        if count == 1 or sizes[chosen].sum() <= most:
            return [items[place] for place in chosen]
        count = min(count - 1, max(1, int(count * most / sizes[chosen].sum())))
