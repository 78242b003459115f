"""The map: one cell per matrix, layers from left to right, roles from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import jinja2
from markupsafe import Markup

from lmscope.report.figures import Figure, Variant
from lmscope.report.records import ROLES, Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import number, p_value, percent, plain, shape

ORDER = 20

# Light to dark, monotone in lightness, told apart with any colour vision (ColorBrewer YlGnBu).
_COLOURS = ["#f7fbe4", "#e0f2c1", "#b5dfb9", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#253494", "#081d58"]
_TEXT_UP_TO_LAYERS = 26

_TEMPLATE = """
{% if figure %}
<div class="controls"><label>Colour shows
  <select data-switch="overview">
  {% for key, variant in figure.variants.items() %}
    <option value="{{ key }}">{{ variant.label }}</option>
  {% endfor %}
  </select></label> <span class="note" data-html="overview"></span></div>
<div class="figure" id="overview" role="img" aria-label="Map of layers and roles"></div>
{% endif %}
{% if apart %}
<h3>{{ "Matrices without a layer" if figure else "Matrices" }}</h3>
<div class="scroll"><table class="sortable">
<thead><tr><th>Matrix<th>Role<th class="n">Shape
{% for measure in measures %}<th class="n">{{ measure.label }}{% endfor %}</tr></thead>
<tbody>
{% for index, row in apart %}
<tr><td><button class="link" data-show="spectrum" data-key="{{ index }}">{{ row.name }}</button>
<td>{{ row.role | plain }}
<td class="n" data-sort="{{ row.rows * row.columns }}">{{ row.rows | shape(row.columns) }}
{% for measure in measures %}{% set value = measure.value(row) %}
<td class="n" data-sort="{{ value if value is not none else -1 }}">{{ measure.words(value) }}
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
"""


@dataclass(frozen=True)
class Measure:
    label: str
    note: str
    value: Callable[[Row], float | None]
    words: Callable[[float | None], str]
    range_from_smallest: bool = False


def outside(row: Row) -> float | None:
    """Share of singular values outside the Marchenko-Pastur edges; None where none could be fitted."""
    if row["upper_edge"] is None or not row["M"]:
        return None
    return float((row["n_below"] or 0) + (row["n_above"] or 0)) / float(row["M"])


MEASURES = {
    "learnt": Measure(
        "Values learnt",
        "singular values above every random sign flip of the entries",
        lambda row: row["learnt"],
        number,
    ),
    "outside": Measure(
        "Share outside the noise",
        "share of singular values outside the Marchenko–Pastur edges; overcounts where entries are not iid",
        outside,
        percent,
    ),
    "ks": Measure(
        "KS distance",
        "Kolmogorov distance of the spectrum from the Marchenko–Pastur law",
        lambda row: row["ks"],
        number,
    ),
    "effective_rank": Measure(
        "Effective rank",
        "exponential of the entropy of the energy in the directions",
        lambda row: row["effective_rank"],
        number,
        range_from_smallest=True,
    ),
    "stable_rank": Measure(
        "Stable rank",
        "total energy over that of the strongest direction",
        lambda row: row["stable_rank"],
        number,
        range_from_smallest=True,
    ),
}


def section(records: Records, environment: jinja2.Environment) -> Section | None:
    if not records.spectra:
        return None
    numbered = list(enumerate(records.spectra))
    analysed = {row["name"] for row in records.spectra}
    missing = [
        (None, row) for row in records.ledger if row["name"] not in analysed and row["status"] != "skipped"
    ]
    in_layers = [(index, row) for index, row in [*numbered, *missing] if row["layer"] is not None]
    figure = _figure(in_layers) if in_layers else None
    html = environment.from_string(_TEMPLATE).render(
        figure=figure,
        measures=list(MEASURES.values()),
        apart=[(index, row) for index, row in numbered if row["layer"] is None],
    )
    return Section(
        key="overview",
        title="Overview: where in the model",
        html=Markup(html),
        shows="One cell per weight matrix: layers from left to right, roles from top to bottom. Click a "
        "cell to see its spectrum below; a gap is a matrix that was not analysed or has no such "
        "number: hover for the reason.",
        surprise="Neighbouring layers usually look alike, and query and key stand out more than value and "
        "attention output. A single cell unlike its neighbours, or a trained layer with nothing "
        "above the noise, deserves a look.",
        figure=figure,
    )


def _lane(row: Row) -> str:
    return plain(row["role"]) + ("" if row["expert"] is None else f" · expert {row['expert']}")


def _figure(matrices: list[tuple[int | None, Row]]) -> Figure:
    """The heatmap; a row without an index is a line of the ledger that has no record: a gap that says why."""
    layers = sorted({row["layer"] for _, row in matrices})
    cells: dict[tuple[str, int], tuple[int | None, Row]] = {}
    order: dict[str, tuple[Any, ...]] = {}
    for index, row in matrices:
        lane, again = _lane(row), 1
        while (lane, row["layer"]) in cells:  # two of one role in one layer, as with cross-attention
            again += 1
            lane = f"{_lane(row)} ({again})"
        cells[lane, row["layer"]] = (index, row)
        order.setdefault(lane, (_role_place(row["role"]), row["expert"] or 0, again))
    lanes = sorted(order, key=lambda lane: order[lane])

    def grid(of: Callable[[int | None, Row], Any]) -> list[list[Any]]:
        def cell(place: tuple[str, int]) -> Any:
            return of(*cells[place]) if place in cells else None

        return [[cell((lane, layer)) for layer in layers] for lane in lanes]

    variants = {}
    for key, measure in MEASURES.items():
        values = grid(_value_of(measure))
        words = [["" if v is None else measure.words(v).replace(" %", "") for v in line] for line in values]
        known = [value for line in values for value in line if value is not None] or [0]
        smallest, largest = min(known), max(known)
        bottom = smallest if measure.range_from_smallest and smallest < largest else 0
        scale = {"zmin": bottom, "zmax": largest or 1}
        colourbar = {"tickformat": ".0%" if key == "outside" else ""}
        variants[key] = Variant(
            measure.label,
            [{"z": values, "text": words, "colorbar": colourbar, **scale}],
            html=escape(measure.note),
        )
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
        "colorscale": [[step / (len(_COLOURS) - 1), colour] for step, colour in enumerate(_COLOURS)],
        "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 1, "ypad": 0},
    }
    if len(layers) <= _TEXT_UP_TO_LAYERS:
        trace["texttemplate"] = "%{text}"
    layout = {
        "height": 80 + row_height * len(lanes) if len(lanes) > 3 else 200,
        "margin": {"l": 10, "r": 10, "t": 6, "b": 44},
        "xaxis": {
            "type": "category",
            "title": {"text": "layer"},
            "showgrid": False,
            "automargin": True,
            "fixedrange": True,
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
        str(index): (layers.index(layer), lanes.index(lane))
        for (lane, layer), (index, _) in cells.items()
        if index is not None
    }
    return Figure([trace], layout, variants, selects="spectrum", cells=places)


def _value_of(measure: Measure) -> Callable[[int | None, Row], float | None]:
    return lambda index, row: None if index is None else measure.value(row)


def _role_place(role: str) -> int:
    return ROLES.index(role) if role in ROLES else len(ROLES)


def _hover(row: Row) -> str:
    name = f"<b>{escape(row['name'])}</b>"
    if "M" not in row:
        return f"{name}<br>{escape(row['status'])}: {escape(row['reason'] or 'no reason given')}"
    if row["mp_reason"]:
        iid = f"no Marchenko–Pastur verdict: {escape(row['mp_reason'])}"
    else:
        iid = f"outside Marchenko–Pastur: {number(row['n_above'])} above, {number(row['n_below'])} below"
    return "<br>".join(
        [
            name,
            f"{shape(row['rows'], row['columns'])} {escape(row['dtype'])}",
            f"learnt (above sign flips): {number(row['learnt'])} of {number(row['M'])}, "
            f"p = {p_value(row['sign_flip_p_value'])}",
            iid,
            f"KS distance {number(row['ks'])}, effective rank {number(row['effective_rank'])}, "
            f"stable rank {number(row['stable_rank'])}",
        ]
    )
