"""A map of pairs as plotly data: one line and one column a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmscope.report.figures import COLOUR_SCALE, STATE
from lmscope.report.measures import Measure
from lmscope.report.pairs import PairRow, hover
from lmscope.results.layer_maps import PairMap

_TEXT_UP_TO = 16

COLUMNS: list[str | dict[str, Any]] = [
    "map",
    "role",
    "matrix x",
    "matrix y",
    "layer x",
    "layer y",
    "expert x",
    "expert y",
    "value",
]
"""Of the data of a map."""

HEATMAP: dict[str, Any] = {
    "type": "heatmap",
    "hoverinfo": "text",
    "hoverongaps": False,
    "xgap": 1,
    "ygap": 1,
    "colorscale": COLOUR_SCALE,
    "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 1, "ypad": 0},
}


def layout(title: str) -> dict[str, Any]:
    axis = {"type": "category", "showgrid": False, "automargin": True, "fixedrange": True, "tickangle": 0}
    return {
        "height": 560,
        "margin": {"l": 10, "r": 10, "t": 40, "b": 44},
        "xaxis": {**axis, "title": {"text": title}, "constrain": "domain"},
        "yaxis": {**axis, "title": {"text": title}, "autorange": "reversed", "scaleanchor": "x"},
    }


def cells(
    one: PairMap, labels: list[str], measure: Measure, rows: list[PairRow], charts: Mapping[int, str]
) -> dict[str, Any]:
    """Values, words and keys of a map; the diagonal, a matrix with itself, is left blank."""

    def grid(of: Any) -> list[list[Any]]:
        return [[None if place < 0 else of(int(place)) for place in line] for line in one.rows]

    values = grid(lambda place: measure.value(rows[place]))
    known = [value for line in values for value in line if value is not None] or [0.0]
    # Values that differ by rounding, as CCA of matrices of full rank, are one colour.
    differ = max(known) - min(known) > 1e-9 * abs(max(known))
    bottom = min(known) if measure.range_from_smallest and differ else min(0.0, min(known))
    small = len(labels) <= _TEXT_UP_TO
    return {
        "x": labels,
        "y": labels,
        "z": values,
        "zmin": bottom,
        "zmax": max(known) if max(known) > bottom else bottom + 1,
        "text": [["" if v is None else measure.words(v).replace(" %", "") for v in line] for line in values],
        "texttemplate": "%{text}" if small else "",
        "hovertext": grid(lambda place: hover(rows[place])),
        "customdata": grid(lambda place: charts.get(place)),
        "colorbar": {"tickformat": measure.tick_format},
    }


def lines(one: PairMap, rows: list[PairRow], measure: Measure) -> list[Any]:
    """The data of a map, pair by pair, under `COLUMNS`."""
    places = [int(one.rows[i, j]) for i, j in zip(*np.triu_indices(len(one.rows), 1), strict=True)]
    there = [rows[place] for place in places if place >= 0]
    columns = ("name_x", "name_y", "layer_x", "layer_y", "expert_x", "expert_y")
    return [
        STATE,
        one.role,
        *([row[column] for row in there] for column in columns),
        [measure.value(row) for row in there],
    ]
