"""Eigenvalues of tokens and of couplings, beside the Marchenko-Pastur law of noise of their size."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.analyses.marchenko_pastur_law import cdf
from lmscope.report.figures import (
    BLUE,
    STATE,
    Figure,
    Variant,
    bins_of_trace,
    merged,
    of_trace,
    packed,
    without_chart,
)
from lmscope.report.icl_rows import reasons
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.spectrum_chart import base, histogram, layout_of_all
from lmscope.report.templates import render
from lmscope.report.words import as_html, count, number

ORDER = 86

_KINDS = {
    "tokens": "Tokens of one prompt, X X′ / N",
    "features": "Couplings, the Gram matrix of the features",
}
_CURVE_POINTS = 240
_VIEWS = {"edges": "noise and its edges", "all": "all values"}

_TEMPLATE = """
{% from "controls.html.jinja" import matrix_choice, view_choice %}
<div class="controls">{{ matrix_choice(groups, first, "coupling_spectrum") }}
{{ view_choice("Show", views, "coupling_spectrum") }}
<button data-save="coupling_spectrum">Data (CSV)</button></div>
<p class="note" data-title="coupling_spectrum"></p>
<div class="figure" id="coupling_spectrum" role="img"
aria-label="Histogram of eigenvalues over the Marchenko–Pastur law"></div>
<div data-html="coupling_spectrum"></div>
"""

_BELOW = """
<p class="note">{{ note }}</p>
<div class="scroll tall"><table><thead><tr><th class="n">Seed<th class="n">Eigenvalues<th class="n">Below
<th class="n">Above{% if labels %}<th class="n">Of these, of the label row{% endif %}
<th class="n">p-value<th class="n">KS distance<th class="n">Noise scale of one entry
<th class="n">Largest / smallest</tr></thead><tbody>
{% for row in rows %}
<tr><td class="n">{{ row.seed }}<td class="n">{{ row["values"] | length | number }}
<td class="n">{{ row.n_below | number }}<td class="n">{{ row.n_above | number }}
{% if labels %}<td class="n">{{ row.label_outliers | number }}{% endif %}
<td class="n">{{ row.p_value | p_value }}<td class="n">{{ row.ks | number }}
<td class="n">{{ row.scale | number }}
<td class="n">{% if row["values"] | length %}{{ row["values"][0] | number(4) }} /
{{ row["values"][-1] | number }}
{%- else %}–{% endif %}</tr>
{% endfor %}
</tbody></table></div>
{% if why %}<p class="warning">{{ why }}.</p>{% endif %}
"""


def section(records: Records) -> Section | None:
    found = records.rows("coupling_spectrum")
    if not found:
        return None
    matrices: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(found, key=_place):
        matrices["-".join(str(row[name]) for name in _MATRIX)].append(row)
    states = {key: _name(rows[0]) for key, rows in matrices.items()}
    first = next(iter(states))
    figure = Figure(
        [merged(trace, over) for trace, over in zip(base(), _NAMES, strict=True)],
        merged(layout_of_all(), {"xaxis": {"title": {"text": "eigenvalue"}}}),
        states,
        lambda key: _variant(matrices[key], states[key]),
        first=first,
        columns=["matrix", "what", "eigenvalue, or start of the bin", "end of the bin", "number of values"],
        parts=[
            [STATE, "bin of the histogram", bins_of_trace(0, 0), bins_of_trace(0, 1), of_trace(0, "y")],
            [STATE, "Marchenko-Pastur noise, of a bin around", of_trace(1, "x"), None, of_trace(1, "y")],
            [STATE, "value of the label row", of_trace(2, "x"), None, 1],
            [STATE, "value outside the edges", of_trace(3, "x"), None, 1],
        ],
    )
    groups = [
        (
            title,
            [(key, {"name": _sizes(rows[0])}) for key, rows in matrices.items() if rows[0]["kind"] == kind],
        )
        for kind, title in _KINDS.items()
    ]
    return Section(
        key="coupling_spectrum",
        title="Eigenvalues of the couplings",
        template=_TEMPLATE,
        values={"groups": [one for one in groups if one[1]], "first": first, "views": _VIEWS},
        shows="Grey bars count the eigenvalues of one seed; the curve is what independent Gaussian entries "
        "of the fitted scale give, and the dotted lines are where noise of this size ends: one eigenvalue "
        "of it lies outside in 1 of 100 draws. Ticks under the chart are the values outside. The table has "
        "every seed. Experiment coupling-spectrum.",
        surprise="Tokens are independent entries: their bars must follow the curve, and only one prompt in "
        "a hundred may have a value outside. Features are products of tokens and labels, not independent, "
        "so values outside the edges say that this noise is no model of them, not that anything was learnt. "
        "Those of the label row (orange) stand apart for they are larger: squares of labels, not products "
        "of two different numbers.",
        figure=figure,
    )


_MATRIX = ("kind", "dimension", "prompt_length", "tasks")
_NAMES: list[dict[str, Any]] = [
    {"name": "eigenvalues"},
    {},
    {"name": "of the label row"},
    {"name": "others outside the edges"},
]


def _place(row: Row) -> tuple[Any, ...]:
    kinds = list(_KINDS)
    return (kinds.index(row["kind"]), *(row[name] for name in _MATRIX[1:]), row["seed"])


def _sizes(row: Row) -> str:
    sizes = f"D = {number(row['dimension'])}, N = {number(row['prompt_length'])}"
    return sizes if row["kind"] == "tokens" else f"{sizes}, P = {number(row['tasks'])}"


def _name(row: Row) -> str:
    return f"{_KINDS[row['kind']]}: {_sizes(row)}"


def _shape(row: Row) -> tuple[int, int]:
    """Rows and columns of the matrix whose squared singular values, over its rows, are the eigenvalues."""
    dimension = row["dimension"]
    if row["kind"] == "tokens":
        return row["prompt_length"], dimension
    return row["tasks"], dimension * (dimension + 1)


def noise(x: NDArray[np.float64], width: float, row: Row) -> NDArray[np.float64]:
    """How many eigenvalues of noise are to be expected in a bin of this width around each x.

    Not the density, which is infinite at 0 for square matrices.
    """
    shape = _shape(row)
    ends = np.sqrt(np.maximum([x - width / 2, x + width / 2], 0.0) * shape[0])
    below, above = cdf(ends, row["scale"], shape)
    return np.asarray(min(shape) * (above - below))


def _variant(rows: list[Row], label: str) -> Variant:
    row = next((row for row in rows if len(row["values"])), rows[0])
    why = reasons(rows)
    seeds = f"Bars: seed {row['seed']}" + (f" of {count(len(rows), 'seed')}" if len(rows) > 1 else "")
    labels = any(one["label_outliers"] is not None for one in rows)
    below = render(_BELOW, note=f"{seeds}.", rows=rows, why=why, labels=labels)
    values = row["values"]
    if not len(values):
        return without_chart(label, below, len(_NAMES))
    lower, upper = row["lower_edge"], row["upper_edge"]
    start, width, counts = histogram(values, lower, upper)
    # By the record's counts, as values descend: the table and the chart must agree.
    place = np.arange(values.size)
    of_label = place < (row["label_outliers"] or 0)
    outside = (place < (row["n_above"] or 0)) | (place >= values.size - (row["n_below"] or 0))
    outside &= ~of_label
    data: list[dict[str, Any]] = [
        {"x0": start, "dx": width, "width": width, "y": packed(counts, "u4")},
        {"visible": False},
        {**_ticks(values[of_label]), "name": f"{number(int(of_label.sum()))} of the label row"},
        {**_ticks(values[outside]), "name": f"{number(int(outside.sum()))} outside the edges"},
    ]
    peak = float(counts.max())
    if row["scale"] and upper is not None:
        sides = np.sqrt(_shape(row))
        reach = row["scale"] ** 2 * np.array([(sides[0] - sides[1]) ** 2, sides.sum() ** 2]) / _shape(row)[0]
        # No bin reaches below 0.
        x = np.linspace(max(width / 2, reach[0] - width), reach[1] + width, _CURVE_POINTS)
        y = noise(x, width, row)
        data[1] = {"x": packed(x), "y": packed(y), "visible": True}
        peak = max(peak, float(y.max()))
    largest, smallest = float(values.max()), min(float(values.min()), start)
    end = max(min(1.04 * largest, 2.0 * upper), 1.35 * upper) if upper is not None else 1.02 * largest
    views = {
        name: [smallest - 0.02 * (right - smallest), right]
        for name, right in {"edges": end, "all": max(end, 1.04 * largest)}.items()
    }
    shapes, named = _marks(row)
    if largest > end:
        beyond = int(np.sum(values > end))
        text = f"{count(beyond, 'value')} further right, up to {number(largest, 4)}"
        named.append({"text": text, "x": 1, "xref": "paper", "xanchor": "right", **_at(0.3, "bottom")})
    return Variant(
        label,
        data,
        {
            "shapes": shapes,
            "annotations": named,
            "xaxis": {"range": views["edges"]},
            "yaxis": {"range": [0, peak * (1.0 + 0.11 * len(shapes))]},
        },
        html=below,
        note=as_html(seeds),
        views=views,
        parts=[
            [STATE, name, row[edge], None, None]
            for name, edge in (("lower edge", "lower_edge"), ("upper edge", "upper_edge"))
            if row[edge] is not None
        ],
    )


def _ticks(values: NDArray[np.float64]) -> dict[str, Any]:
    return {"x": packed(values), "y": packed(np.zeros(values.size), "u1"), "visible": bool(values.size)}


def _at(y: float, anchor: str) -> dict[str, Any]:
    return {"y": y, "yref": "paper", "yanchor": anchor, "showarrow": False}


def _marks(row: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A line and a name for each edge, one name below the other so that they never overlap."""
    edges = [
        (row["upper_edge"], f"upper edge: {number(row['n_above'])} above", "right"),
        (row["lower_edge"] or None, f"lower edge: {number(row['n_below'])} below", "left"),
    ]
    shapes: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    for edge, text, side in edges:
        if edge is None or not math.isfinite(edge):
            continue
        top = 1.0 - 0.065 * len(named)
        line = {"color": BLUE, "width": 1.8, "dash": "dot"}
        shapes.append(
            {"type": "line", "x0": edge, "x1": edge, "y0": 0, "y1": top, "yref": "paper", "line": line}
        )
        place = {"x": edge, "xanchor": side, "xshift": 3 if side == "left" else -3, **_at(top, "top")}
        named.append({"text": text, **place, "font": {"color": BLUE}})
    return shapes, named
