"""Logarithmic axes over tasks, prompt lengths and regularizations, and the number of tasks at D(D+1)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from lmscope.report.figures import VERMILLION
from lmscope.report.words import number

_MOST_TICKS = 6
_ROOM = 0.04
"""Of the axis, free at either end."""


def spins(dimension: int) -> int:
    """Weights of linear attention that enter its prediction, D(D+1): as many tasks fix them all."""
    return dimension * (dimension + 1)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from ``low`` to ``high``, or powers alone where there are many.

    Both ends and their middle where there are fewer than two.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        held = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(held) < 2:
            return [low, math.sqrt(low * high), high]
        if len(held) <= _MOST_TICKS:
            return held
    return held[:: -(-len(held) // _MOST_TICKS)]


def log_axis(values: Iterable[float], title: str, *, edges: bool = False) -> dict[str, Any]:
    """An axis that holds the positive values; ``edges``: they are the outer edges of cells."""
    known = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = min(known), max(known)
    if low == high:
        low, high = low / 2, high * 2
    room = 0 if edges else _ROOM * math.log10(high / low)
    ticks = log_ticks(low, high)
    return {
        "type": "log",
        "title": {"text": title},
        "automargin": True,
        "fixedrange": True,
        "range": [math.log10(low) - room, math.log10(high) + room],
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [tick_words(tick) for tick in ticks],
        "tickangle": 0,
    }


def count_ticks(most: int) -> list[int]:
    """Round numbers from 0 to at most ``most``."""
    step = next(
        one for power in range(19) for one in (10**power, 2 * 10**power, 5 * 10**power) if most <= 5 * one
    )
    return list(range(0, most + 1, step))


def tick_words(value: float) -> str:
    """Short: ``0.01``, ``200``, ``2k``, ``1e-5``."""
    if 1e3 <= value < 1e6:
        return f"{value / 1000:.3g}k"
    return number(value) if 1e-3 <= value < 1e3 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def cell_edges(centres: Sequence[float]) -> list[float]:
    """Edges of cells around positive numbers on a logarithmic axis, one more than there are cells."""
    if len(centres) == 1:
        return [centres[0] / 2, centres[0] * 2]
    between = [math.sqrt(left * right) for left, right in pairwise(centres)]
    return [centres[0] ** 2 / between[0], *between, centres[-1] ** 2 / between[-1]]


def boundary(dimension: int, colour: str = VERMILLION) -> tuple[dict[str, Any], dict[str, Any]]:
    """The upright line at P = D(D+1) on a logarithmic axis of tasks, and its name above the chart."""
    at = spins(dimension)
    line = {
        "type": "line",
        "x0": at,
        "x1": at,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1.5, "dash": "dot"},
    }
    name = {
        "text": f"P = D(D+1) = {number(at)}",
        "x": math.log10(at),
        "yref": "paper",
        "y": 1,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": colour, "size": 12},
    }
    return line, name
