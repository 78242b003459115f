"""The fastest of several ways, tried on part of the input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Way = TypeVar("Way")


def fastest(ways: Iterable[Way], run: Callable[[Way], object]) -> Way:
    """The way whose second run takes least."""
    seconds = {}
    for way in ways:
        run(way)
        started = time.perf_counter()
        run(way)
        seconds[way] = time.perf_counter() - started
    return min(seconds, key=lambda way: seconds[way])
