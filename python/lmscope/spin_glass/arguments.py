"""Numbers that the Hamiltonian takes."""

from __future__ import annotations

import math

__all__ = ["checked_inverse_temperature", "checked_regularization"]


def checked_regularization(given: float) -> float:
    """ValueError for one below 0 or not finite."""
    if not 0 <= given < math.inf:
        raise ValueError(f"regularization must be finite and at least 0, got {given}")
    return float(given)


def checked_inverse_temperature(given: float) -> float:
    """ValueError for one that is not positive and finite."""
    if not 0 < given < math.inf:
        raise ValueError(f"inverse_temperature must be finite and above 0, got {given}")
    return float(given)
