"""Random streams of the room, one number each: no two things that are drawn share a generator."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import numpy as np

from lmscope.analyses.intake import whole

__all__ = ["Stream", "generator"]

_ONE_WORD = 2**32


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


def generator(seed: Any, stream: Stream, block: int | None = None) -> np.random.Generator:
    """Of one stream of a seed, or of a block of it, which no other seed has.

    Raises:
        ValueError: a seed below 0, or from 2**63 up.
        TypeError: a seed that is no whole number.
    """
    found = whole("seed", seed, 0)
    numbers = [stream] if block is None else [stream, block]
    if found < _ONE_WORD:
        return np.random.default_rng([found, *numbers])
    # In a list its two words would be those of a smaller seed and its stream.
    return np.random.default_rng(np.random.SeedSequence(found, spawn_key=numbers))
