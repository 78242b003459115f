"""A map of matrices: one cell each, layers from left to right, roles from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from lmscope.report.figures import COLOUR_SCALE, STATE, Figure, Variant, of_trace
from lmscope.report.lanes import in_lanes
from lmscope.report.measures import Measure
from lmscope.report.records import Row
from lmscope.report.words import as_html

_TEXT_UP_TO_LAYERS = 26


def role_map(
    matrices: Sequence[tuple[int | None, Row]],
    measures: Mapping[str, Measure],
    hover: Callable[[Row], str],
    *,
    first: str,
    selects: str,
    selectable: Callable[[Row], bool] = lambda row: True,
) -> Figure:
    """The heatmap of matrices with layers.

    The indices of those that are ``selectable`` are states of the figure that the map ``selects``.
    A row without an index is a line of the ledger that has no record: a gap that says why.
    """
    layers = sorted({row["layer"] for _, row in matrices})
    by_lane = in_lanes(matrices, experts_apart=True)
    lanes = list(by_lane)
    cells = [[by_lane[lane].get(layer, [None])[0] for layer in layers] for lane in lanes]

    def grid(of: Callable[[int | None, Row], Any]) -> list[list[Any]]:
        return [[None if cell is None else of(*cell) for cell in line] for line in cells]

    def column(of: Callable[[Row], Any]) -> list[Any]:
        return [None if cell is None else of(cell[1]) for line in cells for cell in line]

    def variant(key: str) -> Variant:
        measure = measures[key]
        values = grid(lambda index, row: None if index is None else measure.value(row))
        words = [["" if v is None else measure.words(v).replace(" %", "") for v in line] for line in values]
        known = [value for line in values for value in line if value is not None] or [0]
        smallest, largest = min(known), max(known)
        bottom = smallest if measure.range_from_smallest and smallest < largest else 0
        scale = {"zmin": bottom, "zmax": largest if largest > bottom else bottom + 1}
        colourbar = {"tickformat": measure.tick_format}
        data = {"z": values, "text": words, "colorbar": colourbar, **scale}
        return Variant(measure.label, [data], html=as_html(measure.note), note=measure.note)

    row_height = 36 if len(lanes) <= 8 else 26 if len(lanes) <= 24 else 14
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [str(layer) for layer in layers],
        "y": lanes,
        "hovertext": grid(lambda _, row: hover(row)),
        "customdata": grid(lambda index, row: None if index is None or not selectable(row) else str(index)),
        "hoverinfo": "text",
        "hoverongaps": True,
        "xgap": 2 if len(layers) <= 48 else 1,
        "ygap": 2 if len(lanes) <= 48 else 1,
        "colorscale": COLOUR_SCALE,
        "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 1, "ypad": 0},
    }
    if len(layers) <= _TEXT_UP_TO_LAYERS:
        trace["texttemplate"] = "%{text}"
    layout = {
        # The top margin keeps the camera button off the colour bar.
        "height": 114 + row_height * len(lanes) if len(lanes) > 3 else 234,
        "margin": {"l": 10, "r": 10, "t": 40, "b": 44},
        "xaxis": {
            "type": "category",
            "title": {"text": "layer"},
            "showgrid": False,
            "automargin": True,
            "fixedrange": True,
            "tickangle": 0,
        },
        "yaxis": {
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
            "automargin": True,
            "fixedrange": True,
        },
    }
    places = {
        str(cell[0]): (x, y)
        for y, line in enumerate(cells)
        for x, cell in enumerate(line)
        if cell is not None and cell[0] is not None and selectable(cell[1])
    }
    part = [column(itemgetter(name)) for name in ("name", "layer", "role", "expert")]
    return Figure(
        [trace],
        layout,
        {key: measure.label for key, measure in measures.items()},
        variant,
        first=first,
        selects=selects,
        cells=places,
        columns=["matrix", "layer", "role", "expert", STATE],
        parts=[[*part, of_trace(0, "z")]],
    )
