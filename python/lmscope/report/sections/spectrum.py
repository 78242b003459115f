"""The spectrum of one matrix, over what noise of the same shape would look like."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.analyses.marchenko_pastur_law import density
from lmscope.report.figures import (
    BLUE,
    GREY,
    PURPLE,
    STATE,
    VERMILLION,
    Figure,
    Variant,
    bins_of_trace,
    of_trace,
    packed,
)
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import count, number, plain
from lmscope.visible import visible

ORDER = 30

FloatArray = NDArray[np.float64]

_MOST_BINS = 256
_CURVE_POINTS = 200
_EDGES = {
    "sign-flip edge": "sign_flip_edge",
    "permutation edge": "permutation_edge",
    "iid edge": "upper_edge",
    "lower iid edge": "lower_edge",
}

_TEMPLATE = """
<div class="controls">
<label>Matrix <select data-switch="spectrum">
{% for group, rows in groups %}
<optgroup label="{{ group }}">
{% for index, row in rows %}
<option value="{{ index }}"{% if index == first %} selected{% endif %}>{{ row.name }}</option>
{% endfor %}
</optgroup>
{% endfor %}
</select></label>
<span class="together">
<button data-step="-1" data-of="spectrum" aria-label="previous matrix">‹</button>
<button data-step="1" data-of="spectrum" aria-label="next matrix">›</button></span>
<span class="together">View
<button data-view="edges" data-of="spectrum">noise edges</button>
<button data-view="bulk" data-of="spectrum">bulk</button>
<button data-view="all" data-of="spectrum">all values</button></span>
<button data-save="spectrum">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="spectrum"></h3>
<div class="figure" id="spectrum" role="img" aria-label="Histogram of singular values over noise"></div>
<div data-html="spectrum"></div>
"""

_FACTS = """
{% if row.warning %}<p class="warning">{{ row.warning }}</p>{% endif %}
{% if row.mp_reason %}<p class="warning">No Marchenko–Pastur verdict: {{ row.mp_reason }}</p>{% endif %}
<div class="scroll"><table class="facts">
<thead><tr><th>Noise that keeps …<th class="n">Edge<th class="n">Values outside<th class="n">p
<th class="n">q over the checkpoint</tr></thead>
<tbody>
{% for null in nulls %}
<tr><td><i style="background:{{ null.colour }}"></i>{{ null.keeps }}
<td class="n">{{ null.edge }}<td class="n">{{ null.outside }}
<td class="n">{{ null.p | p_value }}<td class="n">{{ null.q | p_value }}</tr>
{% endfor %}
</tbody></table></div>
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""


def section(records: Records) -> Section | None:
    if not records.spectra:
        return None
    first = max(range(len(records.spectra)), key=lambda index: records.spectra[index]["learnt"] or 0)
    groups = [
        (group, list(rows))
        for group, rows in groupby(enumerate(records.spectra), key=lambda pair: _group(pair[1]))
    ]
    matrices = {str(index): row for index, row in enumerate(records.spectra)}
    figure = Figure(
        _base(),
        _layout(),
        {key: row["name"] for key, row in matrices.items()},
        lambda key: _variant(matrices[key]),
        first=str(first),
        matrices=matrices,
        columns=[
            "matrix",
            "what",
            "singular value, or start of the bin",
            "end of the bin",
            "number of values",
        ],
        parts=[
            [STATE, "bin of the histogram", bins_of_trace(0, 0), bins_of_trace(0, 1), of_trace(0, "y")],
            [STATE, "Marchenko-Pastur noise, per bin", bins_of_trace(1, 0), None, of_trace(1, "y")],
            [STATE, "value learnt", of_trace(2, "x"), None, 1],
            [STATE, "value outside the iid edges only", of_trace(3, "x"), None, 1],
        ],
    )
    return Section(
        key="spectrum",
        title="Spectrum of one matrix",
        template=_TEMPLATE,
        values={"groups": groups, "first": first},
        shows="Grey bars count the singular values (the strengths of the matrix's directions); the curve is "
        "what pure noise of this shape and scale gives. Lines mark how far each kind of noise "
        "reaches; ticks under the chart are the values outside, one tick each. Drag to zoom, "
        "double-click to go back.",
        surprise="Orange ticks are learnt: no sign flip of the same entries reaches them. Bars that follow "
        "the curve are indistinguishable from noise. Values below the left edge, or many blue "
        "ticks without orange ones, come from uneven rows or columns as easily as from learning.",
        figure=figure,
    )


def _variant(row: Row) -> Variant:
    data, layout, views = _chart(row)
    return Variant(
        f"{visible(row['name'])} ({row['rows']} × {row['columns']})",
        data,
        layout,
        html=render(_FACTS, row=row, numbers=_numbers(row), nulls=_nulls(row)),
        views=views,
        parts=[
            [STATE, name, row[edge], None, None] for name, edge in _EDGES.items() if row[edge] is not None
        ],
    )


def _group(row: Row) -> str:
    return "Without a layer" if row["layer"] is None else f"Layer {row['layer']}"


def _numbers(row: Row) -> list[tuple[str, str]]:
    return [
        ("KS distance", f"{number(row['ks'])} (p = {number(row['ks_p_value'], 2)})"),
        ("effective rank", number(row["effective_rank"])),
        ("stable rank", number(row["stable_rank"])),
        ("entropy", number(row["entropy"])),
        ("largest / smallest value", f"{number(row['sv_max'], 4)} / {number(row['sv_min'], 3)}"),
        ("noise scale of one entry", number(row["scale"])),
        ("kurtosis (Gaussian: 3)", number(row["kurtosis"])),
        (
            "spread of row / column variances",
            f"{number(row['row_variance_spread'])} / {number(row['column_variance_spread'])}",
        ),
        ("role", plain(row["role"])),
        ("stored as", str(row["dtype"] or "–")),
    ]


def _nulls(row: Row) -> list[dict[str, Any]]:
    """The three kinds of noise, from the one that keeps most of the matrix to the one that keeps least."""

    def drawn(key: str, keeps: str, colour: str, above: int | None) -> dict[str, Any]:
        edge = row[f"{key}_edge"]
        outside = "not asked for" if edge is None else f"{number(above)} of {number(row['M'])} above"
        p, q = row[f"{key}_p_value"], row[f"{key}_q_value"]
        return {"keeps": keeps, "colour": colour, "edge": number(edge, 4), "outside": outside, "p": p, "q": q}

    fitted = row["upper_edge"] is not None
    outside = f"{number(row['n_above'])} above, {number(row['n_below'])} below" if fitted else "no verdict"
    return [
        drawn("sign_flip", "each entry's size (random sign flips): learnt", VERMILLION, row["learnt"]),
        drawn(
            "permutation", "the entries, not their places (permutation)", PURPLE, row["n_above_permutation"]
        ),
        {
            "keeps": "only the scale (iid, Marchenko–Pastur)",
            "colour": BLUE,
            "edge": f"{number(row['lower_edge'], 4)} and {number(row['upper_edge'], 4)}" if fitted else "–",
            "outside": outside,
            "p": row["mp_p_value"],
            "q": row["mp_q_value"],
        },
    ]


def _base() -> list[dict[str, Any]]:
    bars = {"color": GREY, "opacity": 0.55, "line": {"width": 0}}
    curve = {"color": BLUE, "width": 2}

    def ticks(colour: str, size: int, width: float) -> dict[str, Any]:
        marker = {"symbol": "line-ns-open", "size": size, "color": colour, "line": {"width": width}}
        return {
            "type": "scatter",
            "mode": "markers",
            "yaxis": "y2",
            "hovertemplate": "%{x:.5g}",
            "marker": marker,
        }

    return [
        {
            "type": "bar",
            "offset": 0,
            "name": "singular values",
            "marker": bars,
            "hovertemplate": "%{y} values from %{x:.4g}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Marchenko–Pastur noise",
            "line": curve,
            "hoverinfo": "skip",
        },
        ticks(VERMILLION, 15, 1.5),
        ticks(BLUE, 11, 1.0),
    ]


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


def _chart(row: Row) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, list[float]]]:
    """Histogram, noise curve and ticks of one matrix; its named edges; ranges worth looking at."""
    values = row["singular_values"]
    if not values.size:
        return [{"visible": False}] * 4, {"shapes": [], "annotations": []}, {}
    lower, upper = row["lower_edge"], row["upper_edge"]
    edges = [edge for edge in (upper, row["permutation_edge"], row["sign_flip_edge"]) if edge is not None]

    start, width, counts = histogram(values, lower, upper)
    # By the record's counts (values descend): chart and table must not differ by a value that is within its
    # error of an edge.
    place = np.arange(values.size)
    learnt = place < (row["learnt"] or 0)
    only_iid = (place < (row["n_above"] or 0)) | (place >= values.size - (row["n_below"] or 0))
    only_iid &= ~learnt
    data: list[dict[str, Any]] = [
        {"x0": start, "dx": width, "width": width, "y": packed(counts, "u4")},
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
    if upper is not None and row["scale"]:
        sides = np.sqrt([row["N"], row["M"]])
        x = row["scale"] * np.linspace(sides[0] - sides[1], sides.sum(), _CURVE_POINTS)
        y = values.size * width * np.nan_to_num(density(x, row["scale"], (row["rows"], row["columns"])))
        data[1] = {"x0": float(x[0]), "dx": float(x[1] - x[0]), "y": packed(y), "visible": True}
        peak = max(peak, float(y.max()))

    # Far outliers must not squeeze the bulk: the first view ends at twice the highest edge.
    largest, highest = float(values.max()), max(edges, default=0.0)
    end = max(min(1.04 * largest, 2.0 * highest), 1.35 * highest) if edges else 1.02 * largest
    left = min(float(values.min()), start)
    ends = {"edges": end, "bulk": 1.1 * upper if upper else end, "all": max(end, 1.04 * largest)}
    views = {name: [left - 0.02 * (right - left), right] for name, right in ends.items()}
    shapes, names = _marks(row)
    if largest > end:
        text = f"largest value: {number(largest, 4)}"
        names.append({"text": text, "x": 1, "xref": "paper", "xanchor": "right", **_at(0.12, "bottom")})
    layout = {
        "shapes": shapes,
        "annotations": names,
        "xaxis": {"range": views["edges"]},
        "yaxis": {"range": [0, peak * (1.0 + 0.11 * len(shapes))]},
    }
    return data, layout, views


def _at(y: float, anchor: str) -> dict[str, Any]:
    return {"y": y, "yref": "paper", "yanchor": anchor, "showarrow": False}


def _ticks(values: FloatArray) -> dict[str, Any]:
    return {"x": packed(values), "y": packed(np.zeros(values.size), "u1")}


def histogram(
    values: FloatArray, lower: float | None, upper: float | None
) -> tuple[float, float, NDArray[np.int64]]:
    """Start, bin width and counts of at most 256 equal bins that resolve the bulk.

    Values too far out for 256 bins are left to the ticks: those are all outliers.
    """
    smallest, largest = float(values.min()), float(values.max())
    bulk_end = min(largest, upper) if upper is not None and upper > smallest else largest
    bulk_start = max(smallest, lower) if lower is not None and lower < bulk_end else smallest
    bulk_bins = int(np.clip(2.0 * values.size ** (1 / 2), 12, _MOST_BINS // 2))
    width = (bulk_end - bulk_start) / bulk_bins
    if not width > 0.0:  # all values the same
        return 0.5 * smallest, smallest or 1.0, np.array([values.size])
    # Bins stand on the bulk's left edge, so that the first bar does not straddle it.
    left = min(int(np.ceil(max(0.0, bulk_start - smallest) / width)), (_MOST_BINS - bulk_bins) // 2)
    right = min(int(np.floor((largest - bulk_start) / width)) + 1, _MOST_BINS - left)
    start = bulk_start - left * width
    counts, _ = np.histogram(values, bins=left + right, range=(start, start + (left + right) * width))
    return start, width, counts


def _marks(row: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A line and a name for each edge, names one below the other so that they never overlap."""
    marks = [
        (row["sign_flip_edge"], f"sign-flip edge: {number(row['learnt'])} above", VERMILLION, "solid"),
        (
            row["permutation_edge"],
            f"permutation edge: {number(row['n_above_permutation'])} above",
            PURPLE,
            "dash",
        ),
        (row["upper_edge"], f"iid edge: {number(row['n_above'])} above", BLUE, "dot"),
        (row["lower_edge"] or None, f"lower iid edge: {number(row['n_below'])} below", BLUE, "dot"),
    ]
    shapes: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    for edge, text, colour, dash in marks:
        if edge is None:
            continue
        top = 1.0 - 0.065 * len(names)
        line = {"color": colour, "width": 1.8, "dash": dash}
        ends = {"x0": edge, "x1": edge, "y0": 0, "y1": top, "yref": "paper"}
        shapes.append({"type": "line", **ends, "line": line})
        place = {"x": edge, "xanchor": "left", "xshift": 3, **_at(top, "top")}
        names.append({"text": text, **place, "font": {"color": colour}})
    return shapes, names
