"""Which windows are read where not all can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["Reading", "firsts", "spread"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Reading:
    """How much of the texts a measure reads, as :func:`measures_for` has it."""

    window: int | None
    eval_tokens: int
    seed: int


def firsts(rows: Iterable[Sequence[int]]) -> list[int]:
    """Places of the rows that do not repeat one before them: what is fitted must not be tested again."""
    seen: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(rows):
        seen.setdefault(tuple(row), place)
    return list(seen.values())


def spread(items: Sequence[Item], tokens: Sequence[int], reading: Reading, times: int = 1) -> list[Item]:
    """As many items as may be read, evenly spaced over all, in their order; at least one.

    Args:
        items: all that there are.
        tokens: how many each has.
        reading: how many tokens may be read; its seed decides how far from the first the spacing begins.
        times: that many more may be read.
    """
    sizes = np.asarray(tokens)
    most = times * reading.eval_tokens
    offset = np.random.default_rng([reading.seed, len(items)]).random()
    count = len(items)
    while True:
        chosen = np.floor((np.arange(count) + offset) * len(items) / count).astype(np.int64)
        if count == 1 or sizes[chosen].sum() <= most:
            return [items[place] for place in chosen]
        count = min(count - 1, max(1, int(count * most / sizes[chosen].sum())))
