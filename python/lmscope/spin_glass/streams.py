"""Random streams of the room, one number each: no two things that are drawn share a generator."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import numpy as np

from lmscope.analyses.intake import whole

__all__ = ["Stream", "generator", "seed_of"]

_SEEDS = 2**32
"""numpy cuts a larger seed into two words, which are a smaller seed and a stream of its."""


@unique
class Stream(IntEnum):
    """What is drawn."""

    TASKS = 0
    UNSEEN = 1
    TEACHERS = 2
    SUBSPACE = 3
    FIRST_WEIGHTS = 101
    BATCHES = 102
    LANDSCAPE_WEIGHTS = 103
    LANDSCAPE_REPLICAS = 104
    MESSAGES = 105
    SAMPLES = 106


def seed_of(seed: Any) -> int:
    """A seed whose streams no other seed has.

    Raises:
        ValueError: below 0, or 2**32 and above.
        TypeError: not a whole number.
    """
    found = whole("seed", seed, 0)
    if found >= _SEEDS:
        raise ValueError(f"seed must be below 2**32, got {found}")
    return found


def generator(seed: Any, stream: Stream, block: int | None = None) -> np.random.Generator:
    """Of one stream of a seed, or of a block of it, with the errors of :func:`seed_of`."""
    numbers = [seed_of(seed), stream]
    return np.random.default_rng(numbers if block is None else [*numbers, block])
