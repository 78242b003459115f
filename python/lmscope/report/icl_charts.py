"""Axes and layout of charts whose sizes or losses may span decades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmscope.report.icl_axes import log_axis
from lmscope.report.icl_rows import Band, Point
from lmscope.report.words import number

BRACKETS = "In the table brackets hold 95 % intervals of the mean over seeds (Student's)"

_LOGARITHMIC_FROM = 12
"""Ratio of the largest to the smallest number from which an axis is logarithmic."""
_ROOM_FOR_BANDS = 10
"""Of few seeds they may reach over many decades: so far beyond the means an axis follows them."""


def size_axis(values: Iterable[float], title: str, *, log: bool = True) -> dict[str, Any]:
    """The x axis of what was asked for: logarithmic where it spans more than a decade, unless not ``log``."""
    sizes = sorted(set(values))
    if log and _spans_a_decade(sizes):
        return {**log_axis(sizes, title), "showgrid": False}
    shared = {"title": {"text": title}, "automargin": True, "fixedrange": True, "showgrid": False}
    return {**shared, "type": "linear", "zeroline": False, "nticks": 8}


def logarithmic(lines: Iterable[Sequence[Point]]) -> bool:
    """Whether the means of all lines together span more than a decade."""
    return _spans_a_decade([point.band.mean for points in lines for point in points])


def _spans_a_decade(numbers: Sequence[float]) -> bool:
    return bool(numbers) and min(numbers) > 0 and max(numbers) > _LOGARITHMIC_FROM * min(numbers)


def value_axis(title: str, lines: Iterable[Sequence[Point]], *, log: bool) -> dict[str, Any]:
    """The y axis of numbers that are never negative."""
    if not log:
        return {"title": {"text": title}, "rangemode": "tozero"}
    bands = [point.band for points in lines for point in points]
    means = [band.mean for band in bands]
    lows = [band.low for band in bands if band.low is not None]
    highs = [band.high for band in bands if band.high is not None]
    low = max(min([*means, *lows]), min(means) / _ROOM_FOR_BANDS)
    high = min(max([*means, *highs]), max(means) * _ROOM_FOR_BANDS)
    return log_axis([low, high], title)


def cell_words(found: Band | None) -> str:
    """Of a table: mean and interval."""
    if found is None:
        return "–"
    ends = "" if found.low is None else f" [{number(found.low)}, {number(found.high)}]"
    return f"{number(found.mean, 4)}{ends}"


def layout(xaxis: Mapping[str, Any], *, legend: float = 1.02) -> dict[str, Any]:
    """``legend`` is its height over the plot, more where labels stand between."""
    return {
        "height": 440,
        "margin": {"l": 10, "r": 20, "t": 54, "b": 44},
        "hovermode": "closest",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": legend, "yanchor": "bottom", "traceorder": "normal"},
        "xaxis": dict(xaxis),
        "yaxis": {"automargin": True, "fixedrange": True, "zeroline": False},
    }
