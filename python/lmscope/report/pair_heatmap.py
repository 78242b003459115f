"""A map of pairs as plotly data: a line for each matrix of one side, a column for each of the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.report.figures import COLOUR_SCALE, STATE
from lmscope.report.measures import Measure
from lmscope.report.pairs import PairRow, hover, uncharted

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


def layout(title_x: str, title_y: str) -> dict[str, Any]:
    axis = {"type": "category", "showgrid": False, "automargin": True, "fixedrange": True, "tickangle": 0}
    return {
        "height": 560,
        "margin": {"l": 10, "r": 10, "t": 40, "b": 44},
        "xaxis": {**axis, "title": {"text": title_x}, "constrain": "domain"},
        "yaxis": {**axis, "title": {"text": title_y}, "autorange": "reversed", "scaleanchor": "x"},
    }


def colour_range(measure: Measure, rows: Sequence[PairRow]) -> tuple[float, float]:
    """From chance, or what lies well below it, to the largest value; too wide for noise to have colours."""
    known = [value for row in rows if (value := measure.value(row)) is not None]
    if not known:
        return 0.0, 1.0
    smallest, largest = min(known), max(known)
    if measure.chance is not None:
        random = [value for row in rows if (value := measure.chance(row)) is not None]
        chance = min(random, default=smallest)
        bottom = chance if smallest > chance - measure.least_range else smallest
        return bottom, max(largest, chance + measure.least_range)
    # Values that differ by rounding, as CCA of matrices of full rank, are one colour.
    if largest - smallest <= 1e-9 * abs(largest):
        bottom = min(0.0, smallest)
        return bottom, largest if largest > bottom else bottom + 1
    return min(smallest, largest - measure.least_range), largest


def tick_format(measure: Measure, bottom: float, top: float) -> str:
    """d3's, with digits enough to tell a tenth of the range."""
    digits = max(0, math.ceil(-math.log10((top - bottom) / 10) - 1e-9))
    return f".{max(0, digits - 2)}%" if measure.tick_format.endswith("%") else f".{digits}f"


def cells(
    places: npt.NDArray[np.int64],
    labels_x: Sequence[object],
    labels_y: Sequence[object],
    measure: Measure,
    rows: list[PairRow],
    charts: Mapping[int, str],
    colours: tuple[float, float],
) -> dict[str, Any]:
    """Values, words and keys of a map of ``places`` among the rows, -1 where there is no pair."""

    def grid(of: Any) -> list[list[Any]]:
        return [[None if place < 0 else of(int(place)) for place in line] for line in places]

    values = grid(lambda place: measure.value(rows[place]))
    small = len(labels_x) <= _TEXT_UP_TO
    return {
        "x": [str(label) for label in labels_x],
        "y": [str(label) for label in labels_y],
        "z": values,
        "zmin": colours[0],
        "zmax": colours[1],
        "text": [["" if v is None else measure.words(v).replace(" %", "") for v in line] for line in values],
        "texttemplate": "%{text}" if small else "",
        "hovertext": grid(lambda place: hover(rows[place])),
        "customdata": grid(lambda place: charts.get(place) or uncharted(rows[place])),
        "colorbar": {"tickformat": tick_format(measure, *colours)},
    }


def lines(role: str, places: npt.NDArray[np.int64], rows: list[PairRow], measure: Measure) -> list[Any]:
    """The data of a map, pair by pair, under `COLUMNS`."""
    there = [rows[place] for place in dict.fromkeys(places.ravel().tolist()) if place >= 0]
    columns = ("name_x", "name_y", "layer_x", "layer_y", "expert_x", "expert_y")
    return [
        STATE,
        role,
        *([row[column] for row in there] for column in columns),
        [measure.value(row) for row in there],
    ]
