"""Sizes that cannot fit are refused before anything is drawn."""

from __future__ import annotations

from lmscope.free_memory import free_memory

__all__ = ["check_memory", "gram_bytes"]


def gram_bytes(dimension: int, copies: float = 1.0) -> int:
    """Bytes of so many matrices, spins x spins, of the spins that enter."""
    return round(copies * 8 * (dimension * (dimension + 1)) ** 2)


def check_memory(what: str, needed: int, way_out: str) -> None:
    """ValueError where ``needed`` bytes are more than are free now."""
    free = free_memory()
    if needed > free:
        raise ValueError(
            f"{what} would take {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free; {way_out}"
        )
