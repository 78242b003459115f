"""What the Lasso's numbers must be."""

from __future__ import annotations

import numbers
from typing import Any

__all__ = ["as_number", "as_tolerance"]


def as_number(value: Any, argument: str) -> float:
    """TypeError for what is no real number."""
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{argument} must be a number, got {value!r}")
    return float(value)


def as_tolerance(value: Any) -> float:
    """TypeError for what is no number, ValueError outside (0, 1)."""
    tol = as_number(value, "tol")
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}")
    return tol
