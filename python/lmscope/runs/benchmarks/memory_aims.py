"""What families that are held to their extra memory, too, aim at and say."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Target
from lmscope.runs.benchmarks.results import CaseResult


def speed_and_memory(result: CaseResult, rival: str, share: float) -> list[Target]:
    """As fast as `rival`, the fastest, in at most this share of the memory that it takes beyond the input."""
    found = [Target(f"times as fast as {rival}, the fastest", 1.0, float(np.median(result.ratios(rival))))]
    ours, theirs = result.extra_bytes(OURS), result.extra_bytes(rival)
    if ours is not None and theirs:
        found.append(Target(f"of the extra memory of {rival}", share, ours / theirs, most=True))
    return found


def extra_memory(result: CaseResult) -> Iterator[str]:
    for name in result.competitors():
        extra = result.extra_bytes(name)
        if extra is not None:
            yield f"{name}: {extra / 1e6:.1f} MB beyond the input"
