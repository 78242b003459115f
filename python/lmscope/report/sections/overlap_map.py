"""Every overlap of one matrix: its right singular vectors against all directions of its inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.report.by_rank import RANK
from lmscope.report.figures import COLOUR_SCALE, STATE, Figure, Variant, cell_of, of_trace, packed
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number
from lmscope.visible import visible

ORDER = 54

_MOST_CELLS = 400
"""On a side: a map of 400 x 400 takes 0.9 MB of the page."""
_MOST_MAPS = 12

_TEMPLATE = """
<div class="controls"><label>Matrix <select data-switch="overlap_map">
{% for key, name in maps %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
</select></label> <button data-save="overlap_map">Data (CSV)</button>
<span class="note" data-html="overlap_map"></span></div>
<div class="figure" id="overlap_map" role="img" aria-label="Map of all overlaps of one matrix"></div>
"""


def section(records: Records) -> Section | None:
    rows = records.shown("overlap_map")
    if not rows:
        return None
    of = {str(index): row for index, row in enumerate(rows)}
    more = f" The page holds the first {_MOST_MAPS} of {len(rows)} maps." if len(rows) > _MOST_MAPS else ""
    figure = Figure(
        [_BASE],
        _LAYOUT,
        {key: row["name"] for key, row in of.items()},
        lambda key: _variant(of[key]),
        first="0",
        matrices=of,
        on_page=frozenset(list(of)[:_MOST_MAPS]) if more else None,
        columns=["matrix", "first rank", "first direction", "largest |cosine|"],
    )
    return Section(
        key="overlap_map",
        title="Overlap map: all of one matrix",
        template=_TEMPLATE,
        values={"maps": [(key, row["name"]) for key, row in list(of.items())[:_MOST_MAPS]]},
        shows="|cosine| of every right singular vector (from top to bottom, largest value first) with every "
        f"direction of the inputs (from left to right, largest variance first).{more}",
        surprise="A dark corner: the largest singular values read the strongest directions. A diagonal: "
        "the matrix passes its inputs' variances on. Dark cells at the bottom are what the smallest values "
        "read.",
        figure=figure,
    )


_BASE: dict[str, Any] = {
    "type": "heatmap",
    "x0": 0,
    "y0": 0,
    "zmin": 0,
    "colorscale": COLOUR_SCALE,
    "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 1, "ypad": 0},
    "hovertemplate": "rank %{y}, direction %{x}: %{z:.3f}<extra></extra>",
}
_AXIS = {"showgrid": False, "zeroline": False, "automargin": True, "fixedrange": True}
_LAYOUT: dict[str, Any] = {
    "height": 560,
    "margin": {"l": 10, "r": 10, "t": 40, "b": 44},
    "xaxis": {**_AXIS, "title": {"text": "direction of the inputs (0: largest variance)"}},
    "yaxis": {**_AXIS, "title": {"text": RANK}, "autorange": "reversed"},
}


def _variant(row: Row) -> Variant:
    values = row["values"].reshape(row["shape"])
    cells, down, across = block_maxima(values, _MOST_CELLS)
    note = "|cosine|, 0 to 1"
    if down > 1 or across > 1:
        note = (
            f"{number(values.shape[0])} × {number(values.shape[1])} |cosines|; a cell is the largest of "
            f"{down} × {across}"
        )
    wide = cells.shape[1]
    return Variant(
        visible(row["name"]),
        [
            {
                "z": packed(cells, "f4"),
                "zmax": float(cells.max()) or 1.0,
                # The middle of the ranks that a cell stands for.
                "x0": (across - 1) / 2,
                "dx": across,
                "y0": (down - 1) / 2,
                "dy": down,
            }
        ],
        html=as_html(note),
        note=note,
        parts=[[STATE, cell_of(wide, down, down=True), cell_of(wide, across, down=False), of_trace(0, "z")]],
    )


def block_maxima(values: npt.NDArray[np.float64], most: int) -> tuple[npt.NDArray[np.float64], int, int]:
    """The largest of each block, at most ``most`` blocks a side, and the rows and columns of a block."""
    down, across = (math.ceil(side / most) for side in values.shape)
    starts = [np.arange(0, side, step) for side, step in zip(values.shape, (down, across), strict=True)]
    return np.maximum.reduceat(np.maximum.reduceat(values, starts[0]), starts[1], axis=1), down, across
