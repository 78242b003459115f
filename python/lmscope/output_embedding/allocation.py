"""Directions along which a row of the head is moved."""

from __future__ import annotations

from typing import Literal

__all__ = ["ALLOCATIONS", "Allocation"]

Allocation = Literal["minimum_norm", "sparse", "even"]
ALLOCATIONS: tuple[Allocation, ...] = ("minimum_norm", "sparse", "even")
