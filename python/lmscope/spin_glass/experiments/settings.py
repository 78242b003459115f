"""Checks of the settings that experiments share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmscope.spin_glass.memory import check_memory, gram_bytes

__all__ = ["around_peak", "check_settings"]

_POSITIVE_WHOLE = (
    "batch",
    "bins",
    "dimension",
    "dimensions",
    "distinct_teachers",
    "epochs",
    "heads",
    "layers",
    "max_steps",
    "points",
    "prompt_epochs",
    "prompt_length",
    "prompt_lengths",
    "replicas",
    "samples",
    "seeds",
    "sets",
    "tasks",
    "teacher_size",
    "test_tasks",
    "token_dimension",
    "token_ratios",
    "width",
)
_LARGEST = 2**63 - 1
"""Of what tables hold, and numbers of tasks."""
_POSITIVE = ("inverse_temperature", "learning_rate")
_NOT_NEGATIVE = ("regularization", "weight_decay")


def check_settings(settings: Mapping[str, Any], *, copies: float) -> None:
    """ValueError naming the first setting of a common name that cannot be, or where ``copies`` of the largest
    Gram matrix would not fit into memory: refused before anything is drawn."""
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError(f"{name} is an empty list")
        for one in values:
            _check_one(name, one)
    largest = max(settings["dimensions"])
    check_memory(
        f"dimensions: the couplings of dimension {largest}",
        gram_bytes(largest, copies),
        "take smaller dimensions",
    )


def _check_one(name: str, value: Any) -> None:
    if value is None:
        return
    if name in _POSITIVE_WHOLE and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if name in _POSITIVE_WHOLE and value > _LARGEST:
        raise ValueError(f"{name} must be below 2**63, got {value!r}")
    if name in _POSITIVE and not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    if name in _NOT_NEGATIVE and not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and not negative, got {value!r}")
    if name == "damping" and not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    if name == "correlations" and not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")


def around_peak(dimension: int, step: float = 0.05) -> list[int]:
    """Numbers of tasks around dimension (dimension + 1), which makes the ground state unique: that number,
    twice it, others from half of it to 2.2 times it no more than ``step`` apart, and a few below."""
    spins = dimension * (dimension + 1)
    found = {max(1, round(share * spins)) for share in (0.1, 0.2, 0.3, 0.4)} | {2 * spins}
    for way in (1, -1):
        at = spins
        while 0.5 * spins <= at <= 2.2 * spins:
            found.add(at)
            # Rounded towards where it came from, so that no step is longer; at least one task.
            at += way * max(1, math.floor(step * at if way > 0 else step * at / (1 + step)))
    return sorted(found)
