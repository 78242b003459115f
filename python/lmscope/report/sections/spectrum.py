"""The spectrum of one matrix, over what noise of the same shape would look like."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from lmscope.analyses.marchenko_pastur import density
from lmscope.report.figures import BLUE, GREY, PURPLE, VERMILLION, Figure, Variant, packed
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import count, number, plain

ORDER = 30

_MOST_BINS = 256
_CURVE_POINTS = 200

_TEMPLATE = """
<div class="controls">
<label>Matrix <select data-switch="spectrum">
{% for group, rows in groups %}
<optgroup label="{{ group }}">
{% for index, row in rows %}<option value="{{ index }}"{% if index == first %} selected{% endif %}>{{ row.name }}</option>{% endfor %}
</optgroup>
{% endfor %}
</select></label>
<button data-step="-1" data-of="spectrum" aria-label="previous matrix">‹</button>
<button data-step="1" data-of="spectrum" aria-label="next matrix">›</button>
</div>
<h3 class="chosen" data-title="spectrum"></h3>
<div class="figure" id="spectrum" role="img" aria-label="Histogram of singular values over the Marchenko–Pastur density"></div>
<div data-html="spectrum"></div>
"""

_FACTS = """
{% if row.warning %}<p class="warning">{{ row.warning }}</p>{% endif %}
{% if row.mp_reason %}<p class="warning">No Marchenko–Pastur verdict: {{ row.mp_reason }}</p>{% endif %}
<div class="scroll"><table class="facts">
<thead><tr><th>Noise that keeps …<th class="n">Edge<th class="n">Values above<th class="n">p<th class="n">q over the checkpoint</tr></thead>
<tbody>
<tr><td><i style="background:{{ colours.sign_flip }}"></i>each entry's size (random sign flips): <b>learnt</b><td class="n">{{ row.get("sign_flip_edge") | number(4) }}<td class="n"><b>{{ row.get("learnt") | number }}</b> of {{ row.M | number }}<td class="n">{{ row.get("sign_flip_p_value") | p_value }}<td class="n">{{ row.get("sign_flip_q_value") | p_value }}</tr>
<tr><td><i style="background:{{ colours.permutation }}"></i>the entries, but not their places (permutation)<td class="n">{{ row.get("permutation_edge") | number(4) }}<td class="n">{{ row.get("n_above_permutation") | number }} of {{ row.M | number }}<td class="n">{{ row.get("permutation_p_value") | p_value }}<td class="n">{{ row.get("permutation_q_value") | p_value }}</tr>
<tr><td><i style="background:{{ colours.iid }}"></i>only the scale (iid, Marchenko–Pastur)<td class="n">{{ row.get("lower_edge") | number(4) }} and {{ row.get("upper_edge") | number(4) }}<td class="n">{% if row.get("upper_edge") is not none %}{{ row.n_above | number }} above, {{ row.n_below | number }} below{% else %}–{% endif %}<td class="n">{{ row.get("mp_p_value") | p_value }}<td class="n">{{ row.get("mp_q_value") | p_value }}</tr>
</tbody></table></div>
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""

_COLOURS = {"sign_flip": VERMILLION, "permutation": PURPLE, "iid": BLUE}


def section(records: Records, environment: jinja2.Environment) -> Section | None:
    if not records.spectra:
        return None
    facts = environment.from_string(_FACTS)
    first = max(range(len(records.spectra)), key=lambda index: records.spectra[index].get("learnt") or 0)
    variants = {}
    for index, row in enumerate(records.spectra):
        data, layout = _chart(row)
        html = facts.render(row=row, numbers=_numbers(row), colours=_COLOURS)
        variants[str(index)] = Variant(_title(row), data, layout, html)
    groups = [
        (group, list(rows))
        for group, rows in groupby(enumerate(records.spectra), key=lambda pair: _group(pair[1]))
    ]
    return Section(
        key="spectrum",
        title="Spectrum of one matrix",
        html=Markup(environment.from_string(_TEMPLATE).render(groups=groups, first=first)),
        shows="Grey bars count the singular values (the strengths of the matrix's directions); the curve is what pure noise of this shape and "
        "scale gives. Lines mark how far each kind of noise reaches; ticks under the chart are the values outside, one tick each. "
        "Drag to zoom, double-click to go back.",
        surprise="Orange ticks are learnt: no sign flip of the same entries reaches them. Bars that follow the curve are indistinguishable from noise. "
        "Values below the left edge, or many blue ticks without orange ones, come from uneven rows or columns as easily as from learning.",
        figure=Figure(_base(), _layout(), variants),
    )


def _group(row: Row) -> str:
    return "Without a layer" if row.get("layer") is None else f"Layer {row['layer']}"


def _title(row: Row) -> str:
    return f"{row['name']} ({row['rows']} × {row['columns']})"


def _numbers(row: Row) -> list[tuple[str, str]]:
    return [
        ("KS distance", f"{number(row.get('ks'))} (p = {number(row.get('ks_p_value'), 2)})"),
        ("effective rank", number(row.get("effective_rank"))),
        ("stable rank", number(row.get("stable_rank"))),
        ("entropy", number(row.get("entropy"))),
        ("largest / smallest value", f"{number(row.get('sv_max'), 4)} / {number(row.get('sv_min'), 3)}"),
        ("noise scale of one entry", number(row.get("scale"))),
        ("kurtosis (Gaussian: 3)", number(row.get("kurtosis"))),
        (
            "spread of row / column variances",
            f"{number(row.get('row_variance_spread'))} / {number(row.get('column_variance_spread'))}",
        ),
        ("role", plain(row["role"])),
        ("stored as", str(row.get("dtype") or "–")),
    ]


def _base() -> list[dict[str, Any]]:
    tick: dict[str, Any] = {"type": "scatter", "mode": "markers", "yaxis": "y2", "hovertemplate": "%{x:.5g}"}
    return [
        {"type": "bar", "offset": 0, "name": "singular values", "marker": {"color": GREY, "opacity": 0.55, "line": {"width": 0}},
         "hovertemplate": "%{y} values from %{x:.4g}<extra></extra>"},
        {"type": "scatter", "mode": "lines", "name": "Marchenko–Pastur noise", "line": {"color": BLUE, "width": 2}, "hoverinfo": "skip"},
        {**tick, "name": "learnt", "marker": {"symbol": "line-ns-open", "size": 15, "color": VERMILLION, "line": {"width": 1.5}}},
        {**tick, "name": "outside the iid edges only", "marker": {"symbol": "line-ns-open", "size": 11, "color": BLUE, "line": {"width": 1}}},
    ]  # fmt: skip


def _layout() -> dict[str, Any]:
    return {
        "height": 440,
        "bargap": 0,
        "hovermode": "closest",
        "dragmode": "zoom",
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "xaxis": {
            "title": {"text": "singular value"},
            "automargin": True,
            "anchor": "y2",
            "zeroline": False,
            "showgrid": False,
        },
        "yaxis": {
            "title": {"text": "number of values"},
            "automargin": True,
            "domain": [0.11, 1],
            "rangemode": "tozero",
            "fixedrange": True,
        },
        "yaxis2": {"domain": [0, 0.08], "range": [-1, 1], "visible": False, "fixedrange": True},
    }


def _chart(row: Row) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Histogram, noise curve, ticks and named edges of one matrix."""
    values = row.get("singular_values")
    values = np.zeros(0) if values is None else np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return [{"visible": False}] * 4, {"shapes": [], "annotations": []}
    lower, upper = row.get("lower_edge"), row.get("upper_edge")
    flips, permuted = row.get("sign_flip_edge"), row.get("permutation_edge")
    edges = [edge for edge in (upper, permuted, flips) if edge is not None]

    start, width, counts = histogram(values, lower, upper)
    learnt = values > flips if flips is not None else np.zeros(values.size, bool)
    outside = np.zeros(values.size, bool) if upper is None else (values > upper) | (values < (lower or 0.0))
    only_iid = outside & ~learnt
    data: list[dict[str, Any]] = [
        {"x0": start + 0.0, "dx": width, "width": width, "y": packed(counts, "u4")},
        {"visible": False},
        {
            **_ticks(values[learnt]),
            "name": f"{count(int(learnt.sum()), 'value')} learnt",
            "visible": bool(learnt.any()),
        },
        {
            **_ticks(values[only_iid]),
            "name": f"{number(int(only_iid.sum()))} outside the iid edges only",
            "visible": bool(only_iid.any()),
        },
    ]
    peak = float(counts.max())
    if upper is not None and row.get("scale"):
        x = np.linspace(lower or 0.0, upper, _CURVE_POINTS)
        y = values.size * width * np.nan_to_num(density(x, row["scale"], (row["rows"], row["columns"])))
        data[1] = {"x0": float(x[0]), "dx": float(x[1] - x[0]), "y": packed(y), "visible": True}
        peak = max(peak, float(y.max()))

    # Far outliers must not squeeze the bulk: the first view ends at twice the highest edge, and says what lies beyond.
    reach = 2.0 * max(edges) if edges else float(values[0])
    end = min(float(values.max()) * 1.04, reach) if edges else float(values.max()) * 1.02
    end = max(end, 1.35 * max(edges)) if edges else end
    beyond = int((values > end).sum())
    shapes, notes = _marks(row, end)
    if beyond:
        notes.append(
            {"text": f"{number(beyond)} more, up to {number(float(values.max()), 4)} →", "x": 1, "xref": "paper", "xanchor": "right",
             "y": 0.1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
    lowest = min(float(values.min()), start)
    layout = {
        "shapes": shapes,
        "annotations": notes,
        "xaxis": {"range": [lowest - 0.02 * (end - lowest), end]},
        "yaxis": {"range": [0, peak * (1.0 + 0.13 * len(notes))]},
    }
    return data, layout


def _ticks(values: np.ndarray) -> dict[str, Any]:
    return {"x": packed(values), "y": packed(np.zeros(values.size), "u1")}


def histogram(
    values: np.ndarray, lower: float | None, upper: float | None
) -> tuple[float, float, np.ndarray]:
    """Start, bin width and counts of at most 256 equal bins that resolve the bulk.

    Values too far out for 256 bins are left to the ticks: those are all outliers.
    """
    smallest, largest = float(values.min()), float(values.max())
    bulk_end = min(largest, upper) if upper is not None and upper > smallest else largest
    bulk_start = max(smallest, lower) if lower is not None and lower < bulk_end else smallest
    bulk_bins = int(np.clip(2.0 * values.size ** (1 / 2), 12, _MOST_BINS // 2))
    if bulk_end <= bulk_start:
        return smallest - 0.5 * (abs(smallest) or 1.0), (abs(smallest) or 1.0), np.array([values.size])
    width = (bulk_end - bulk_start) / bulk_bins
    # Bins stand on the bulk's left edge, so that the first bar does not straddle it.
    left = min(int(np.ceil(max(0.0, bulk_start - smallest) / width)), (_MOST_BINS - bulk_bins) // 2)
    right = min(int(np.floor((largest - bulk_start) / width)) + 1, _MOST_BINS - left)
    start = bulk_start - left * width
    counts, _ = np.histogram(values, bins=left + right, range=(start, start + (left + right) * width))
    return start, width, counts


def _marks(row: Row, end: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A line and a name for each edge, names one below the other so that they never overlap."""
    learnt, permuted = row.get("learnt"), row.get("n_above_permutation")
    marks = [
        (row.get("sign_flip_edge"), f"sign-flip edge: {number(learnt)} above", VERMILLION, "solid"),
        (row.get("permutation_edge"), f"permutation edge: {number(permuted)} above", PURPLE, "dash"),
        (row.get("upper_edge"), f"iid edge: {number(row.get('n_above'))} above", BLUE, "dot"),
        (row.get("lower_edge") or None, f"lower iid edge: {number(row.get('n_below'))} below", BLUE, "dot"),
    ]
    shapes, notes = [], []
    for edge, text, colour, dash in marks:
        if edge is None:
            continue
        top = 1.0 - 0.065 * len(notes)
        line = {"color": colour, "width": 1.8, "dash": dash}
        shapes.append(
            {"type": "line", "x0": edge, "x1": edge, "y0": 0, "y1": top, "yref": "paper", "line": line}
        )
        notes.append(
            {"text": text, "x": edge, "xanchor": "left", "xshift": 3, "y": top, "yref": "paper", "yanchor": "top",
             "showarrow": False, "font": {"color": colour}}
        )  # fmt: skip
    return shapes, notes
