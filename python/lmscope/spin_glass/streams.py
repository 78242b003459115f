"""Random streams of the room, one number each: a generator is seeded with [seed, stream, ...], and no two
things that are drawn share one."""

from __future__ import annotations

from enum import IntEnum, unique

__all__ = ["Stream"]


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
