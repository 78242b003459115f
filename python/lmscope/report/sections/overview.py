"""The map: one cell per matrix, layers from left to right, roles from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from lmscope.report.figures import COLOUR_SCALE, STATE, Figure, Variant, of_trace
from lmscope.report.lanes import in_lanes
from lmscope.report.measures import MEASURES, NAMES
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number, p_value, shape

ORDER = 20

_TEXT_UP_TO_LAYERS = 26

_TEMPLATE = """
{% from "controls.html.jinja" import heading, measure_choice %}
{% if figure %}
{{ measure_choice("Map and lines show", figure, "overview") }}
<div class="figure" id="overview" role="img" aria-label="Map of layers and roles"></div>
{% endif %}
{% if apart %}
<h3>{{ "Matrices without a layer" if figure else "Matrices" }}</h3>
<div class="scroll"><table class="sortable">
<thead><tr>{{ heading("Matrix") }}{{ heading("Role") }}{{ heading("Shape", true) }}
{% for measure in measures %}{{ heading(measure.label, true) }}{% endfor %}</tr></thead>
<tbody>
{% for index, row in apart %}
<tr><td><button class="link" data-show="spectrum" data-key="{{ index }}">{{ row.name }}</button>
<td>{{ row.role | plain }}
<td class="n" data-sort="{{ row.rows * row.columns }}">{{ row.rows | shape(row.columns) }}
{% for measure in measures %}{% set value = measure.value(row) %}
<td class="n" data-sort="{{ value if value is not none }}">{{ measure.words(value) }}
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
"""


def section(records: Records) -> Section | None:
    if not records.spectra:
        return None
    numbered = list(enumerate(records.spectra))
    analysed = {row["name"] for row in records.spectra}
    missing = [
        (None, row) for row in records.ledger if row["name"] not in analysed and row["status"] != "skipped"
    ]
    in_layers = [(index, row) for index, row in [*numbered, *missing] if row["layer"] is not None]
    figure = _figure(in_layers) if in_layers else None
    return Section(
        key="overview",
        title="Overview: where in the model",
        template=_TEMPLATE,
        values={
            "figure": figure,
            "measures": list(MEASURES.values()),
            "apart": [(index, row) for index, row in numbered if row["layer"] is None],
        },
        shows="One cell per weight matrix: layers from left to right, roles from top to bottom. Click a "
        "cell to see its spectrum below; a gap is a matrix that was not analysed or has no such "
        "number: hover for the reason.",
        surprise="A cell unlike those of its role in the layers beside it, or a trained layer with nothing "
        "above the noise. Roles of different shapes are better compared by share than by count: a larger "
        "matrix has more values.",
        figure=figure,
    )


def _figure(matrices: list[tuple[int | None, Row]]) -> Figure:
    """The heatmap; a row without an index is a line of the ledger that has no record: a gap that says why."""
    layers = sorted({row["layer"] for _, row in matrices})
    by_lane = in_lanes(matrices, experts_apart=True)
    lanes = list(by_lane)
    cells = [[by_lane[lane].get(layer, [None])[0] for layer in layers] for lane in lanes]

    def grid(of: Callable[[int | None, Row], Any]) -> list[list[Any]]:
        return [[None if cell is None else of(*cell) for cell in line] for line in cells]

    def column(of: Callable[[Row], Any]) -> list[Any]:
        return [None if cell is None else of(cell[1]) for line in cells for cell in line]

    def variant(key: str) -> Variant:
        measure = MEASURES[key]
        values = grid(lambda index, row: None if index is None else measure.value(row))
        words = [["" if v is None else measure.words(v).replace(" %", "") for v in line] for line in values]
        known = [value for line in values for value in line if value is not None] or [0]
        smallest, largest = min(known), max(known)
        bottom = smallest if measure.range_from_smallest and smallest < largest else 0
        scale = {"zmin": bottom, "zmax": largest or 1}
        colourbar = {"tickformat": measure.tick_format}
        data = {"z": values, "text": words, "colorbar": colourbar, **scale}
        return Variant(measure.label, [data], html=as_html(measure.note), note=measure.note)

    row_height = 36 if len(lanes) <= 8 else 26 if len(lanes) <= 24 else 14
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": [str(layer) for layer in layers],
        "y": lanes,
        "hovertext": grid(lambda _, row: _hover(row)),
        "customdata": grid(lambda index, _: None if index is None else str(index)),
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
        if cell is not None and cell[0] is not None
    }
    part = [column(itemgetter(name)) for name in ("name", "layer", "role", "expert")]
    return Figure(
        [trace],
        layout,
        NAMES,
        variant,
        first="learnt",
        selects="spectrum",
        cells=places,
        columns=["matrix", "layer", "role", "expert", STATE],
        parts=[[*part, of_trace(0, "z")]],
    )


def _hover(row: Row) -> str:
    name = f"<b>{as_html(row['name'])}</b>"
    if "M" not in row:
        return f"{name}<br>{as_html(row['status'])}: {as_html(row['reason'] or 'no reason given')}"
    if row["mp_reason"]:
        iid = f"no Marchenko–Pastur verdict: {as_html(row['mp_reason'])}"
    else:
        iid = f"outside Marchenko–Pastur: {number(row['n_above'])} above, {number(row['n_below'])} below"
    return "<br>".join(
        [
            name,
            f"{shape(row['rows'], row['columns'])} {as_html(row['dtype'])}",
            f"learnt (above sign flips): {number(row['learnt'])} of {number(row['M'])}, "
            f"p = {p_value(row['sign_flip_p_value'])}",
            iid,
            f"KS distance {number(row['ks'])}, effective rank {number(row['effective_rank'])}, "
            f"stable rank {number(row['stable_rank'])}",
        ]
    )
