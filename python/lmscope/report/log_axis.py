"""Axes that are logarithmic on both sides of zero, where numbers of either sign differ a thousandfold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

_LINEAR_UP_TO = 30
"""Ratio of the largest number to the lower quartile up to which a plain axis shows both."""
_LOWEST = 1e-4
"""Of the largest number: what lies below is drawn linearly."""
_MOST_TICKS = 4


class SignedLog:
    """``asinh(value / unit)``: linear below ``unit``, logarithmic above.

    ``uncertain`` are half widths of the values' intervals: below half of these nothing is spread out.
    """

    def __init__(self, values: Iterable[float], uncertain: Iterable[float] = ()) -> None:
        sizes = sorted(abs(value) for value in values if value)
        widths = sorted(uncertain)
        self.largest = sizes[-1] if sizes else 1.0
        small = max(sizes[len(sizes) // 4] if sizes else 1.0, widths[len(widths) // 2] if widths else 0.0)
        self.linear = self.largest <= _LINEAR_UP_TO * small
        self.unit = 10.0 ** math.floor(math.log10(max(small, self.largest * _LOWEST)))

    def __call__(self, value: float) -> float:
        return value if self.linear else math.asinh(value / self.unit)

    def axis(self, low: float, high: float, words: Callable[[float], str]) -> dict[str, Any]:
        """Ticks and range that hold ``low`` to ``high``, numbers before the transformation."""
        bottom, top = self(min(low, 0.0)), self(max(high, 0.0))
        room = 0.06 * ((top - bottom) or 1.0)
        range_ = {"range": [bottom - room, top + room]}
        if self.linear:
            return {**range_, "tickmode": "auto", "nticks": 6}
        first, last = math.log10(self.unit), math.floor(math.log10(self.largest))
        step = max(1, math.ceil((last - first + 1) / _MOST_TICKS))
        powers = [10.0**power for power in range(last, round(first) - 1, -step)]
        ticks = [
            *(-power for power in powers if -power >= low),
            0.0,
            *(power for power in powers if power <= high),
        ]
        return {
            **range_,
            "tickmode": "array",
            "tickvals": [self(tick) for tick in sorted(ticks)],
            "ticktext": [words(tick) for tick in sorted(ticks)],
        }
