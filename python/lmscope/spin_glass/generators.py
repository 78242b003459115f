"""Random generators of the room: one seed, many streams."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmscope.analyses.intake import whole

__all__ = ["generator", "seed_of"]

_SEEDS = 2**32
"""numpy cuts a larger seed into words, which would be those of another seed's streams."""


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


def generator(seed: Any, *stream: int) -> np.random.Generator:
    """Of one stream of a seed, with the errors of :func:`seed_of`."""
    return np.random.default_rng([seed_of(seed), *stream])
