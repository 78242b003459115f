"""Axes of the experiments' charts: sizes that span decades, losses that do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmscope.report.icl_rows import Point
from lmscope.report.words import number

_MOST_TICKS = 8
_LOGARITHMIC_FROM = 12
"""Ratio of the largest to the smallest number from which an axis is logarithmic."""


def size_axis(values: Iterable[float], title: str) -> dict[str, Any]:
    """The x axis of what was asked for: logarithmic, with ticks on these values, where they span a decade."""
    sizes = sorted(set(values))
    shared = {"title": {"text": title}, "automargin": True, "fixedrange": True, "showgrid": False}
    if not _spans_a_decade(sizes):
        return {**shared, "zeroline": False, "nticks": _MOST_TICKS}
    ticks = _apart(sizes)
    return {
        **shared,
        "type": "log",
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [number(size) for size in ticks],
        "tickangle": 0,
    }


def _spans_a_decade(numbers: Sequence[float]) -> bool:
    return bool(numbers) and min(numbers) > 0 and max(numbers) > _LOGARITHMIC_FROM * min(numbers)


def _apart(sizes: list[float]) -> list[float]:
    """Sizes whose names do not run into each other, the largest among them."""
    least = math.log(sizes[-1] / sizes[0]) / _MOST_TICKS
    kept: list[float] = []
    for size in reversed(sizes):
        if not kept or math.log(kept[-1] / size) >= least:
            kept.append(size)
    return kept[::-1]


def logarithmic(lines: Iterable[Sequence[Point]]) -> bool:
    """Whether the means of all lines together span more than a decade."""
    return _spans_a_decade([point.band.mean for points in lines for point in points])


def value_axis(title: str, *, log: bool) -> dict[str, Any]:
    """The y axis of numbers that are never negative."""
    if log:
        return {"title": {"text": title}, "type": "log", "dtick": 1, "exponentformat": "power"}
    return {"title": {"text": title}, "rangemode": "tozero"}


def layout(xaxis: Mapping[str, Any], *, height: int = 440) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 10, "r": 20, "t": 54, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "xaxis": dict(xaxis),
        "yaxis": {"automargin": True, "fixedrange": True, "zeroline": False},
    }
