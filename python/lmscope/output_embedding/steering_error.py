"""What cannot be steered."""

from __future__ import annotations

__all__ = ["SteeringError"]


class SteeringError(ValueError):
    """A token, factor or text that cannot be steered with; the message says why and what is possible."""
