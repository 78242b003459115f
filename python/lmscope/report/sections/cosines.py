"""The cosines of one pair of matrices, over those of random directions."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
from scipy import stats

from lmscope.report.figures import (
    BLUE,
    GREY,
    STATE,
    VERMILLION,
    Figure,
    Variant,
    bins_of_trace,
    of_trace,
    packed,
    without_chart,
)
from lmscope.report.pairs import WHY_UNCHARTED, PairRow, against_signs, charted, heads, name
from lmscope.report.records import Records
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import number, p_value, percent, plain, signed_percent

ORDER = 33

_MOST_BINS = 256

_TEMPLATE = """
<div class="controls">
<label>Pair <select data-switch="cosines">
{% for role, pairs in groups %}
<optgroup label="{{ role | plain }}">
{% for key, title in pairs %}
<option value="{{ key }}"{% if key == first %} selected{% endif %}>{{ title }}</option>
{% endfor %}
</optgroup>
{% endfor %}
</select></label>
<span class="together">
<button data-step="-1" data-of="cosines" aria-label="previous pair">‹</button>
<button data-step="1" data-of="cosines" aria-label="next pair">›</button></span>
<button data-save="cosines">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="cosines"></h3>
<div class="figure" id="cosines" role="img" aria-label="Histogram of cosines over chance"></div>
<div data-html="cosines"></div>
"""

_FACTS = """
<p class="note">{{ row.name_x }} with {{ row.name_y }}: {{ row.vectors }} of length {{ row.depth }}</p>
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""


def section(records: Records) -> Section | None:
    charts = charted(records)
    if not charts:
        return None
    rows = heads(records)
    counts = records.table("similarity").column("counts")
    places = {key: place for place, key in charts.items()}
    matrices = {
        key: {
            "name": f"{rows[place]['name_x']} with {rows[place]['name_y']}",
            "role": rows[place]["role"],
            "layer": rows[place]["layer_x"],
        }
        for key, place in places.items()
    }
    first = max(places, key=lambda key: rows[places[key]]["excess"] or 0.0)
    ordered = sorted(places.items(), key=lambda entry: (rows[entry[1]]["role"], entry[1]))
    figure = Figure(
        _base(),
        _layout(),
        {key: name(rows[place]) for key, place in places.items()},
        lambda key: _variant(rows[places[key]], np.asarray(counts[places[key]].values, dtype=np.int64)),
        first=first,
        matrices=matrices,
        notes={
            key: without_chart("No histogram of this pair", f'<p class="note">{words}</p>', 2)
            for key, words in WHY_UNCHARTED.items()
        },
        columns=["pair", "matrix x", "matrix y", "what", "cosine from", "cosine to", "pairs of vectors"],
    )
    return Section(
        key="cosines",
        title="Cosines of one pair",
        template=_TEMPLATE,
        values={
            "groups": [
                (role, [(key, name(rows[place])) for key, place in group])
                for role, group in groupby(ordered, key=lambda entry: rows[entry[1]]["role"])
            ],
            "first": first,
        },
        shows="Bars count the pairs of vectors by their cosine; the curve is what as many random directions "
        "of this length give. The scale is logarithmic: the few large ones matter. Dashed lines are "
        "plus and minus the score, the typical largest cosine of a vector.",
        surprise="Bars that follow the curve are what chance gives. Tails far outside it are neurons that "
        "have a counterpart in the other layer; bars at -1 or 1 are copies.",
        figure=figure,
    )


def _base() -> list[dict[str, Any]]:
    return [
        {
            "type": "bar",
            "offset": 0,
            "name": "pairs of vectors",
            "marker": {"color": BLUE},
            "hovertemplate": "%{y} pairs from %{x:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "random directions",
            "line": {"color": VERMILLION, "width": 2},
            "hoverinfo": "skip",
        },
    ]


def _layout() -> dict[str, Any]:
    return {
        "height": 380,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "bargap": 0,
        "dragmode": "zoom",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": "cosine"}, "automargin": True, "zeroline": False},
        "yaxis": {
            "type": "log",
            "title": {"text": "pairs of vectors"},
            "automargin": True,
            "fixedrange": True,
            "exponentformat": "power",
            "dtick": 1,
        },
    }


def _variant(row: PairRow, counts: np.ndarray) -> Variant:
    bins, first = int(row["bins"]), int(row["first_bin"])
    width = -(-len(counts) // _MOST_BINS)
    padded = np.zeros(-(-len(counts) // width) * width, np.int64)
    padded[: len(counts)] = counts
    joined = padded.reshape(-1, width).sum(axis=1)
    edges = -1 + 2 / bins * (first + width * np.arange(len(joined) + 1))
    step = 2 / bins * width
    chance = _expected(np.minimum(edges, 1), int(row["depth"]), int(row["pairs"]))
    top = float(np.log10(max(joined.max(), chance.max()))) + 0.15
    score = row["score"]
    line = {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dash", "width": 1, "color": GREY},
    }
    numbers = [
        ("DOCS score", number(score)),
        ("chance", number(row["baseline"])),
        ("excess", signed_percent(row["excess"])),
        ("random signs", "–" if row["null_mean"] is None else against_signs(row)),
        ("matched", percent(row["matched_share"])),
        ("mutual nearest", percent(row["mutual_share"])),
        ("distance of the fit", p_value(row["fit_distance"])),
        ("pairs of vectors", number(row["pairs"])),
    ]
    return Variant(
        name(row),
        [
            {
                "x0": float(edges[0]),
                "dx": step,
                "width": step,
                "y": packed(joined, "u4" if joined.max() < 2**32 else "f8"),
            },
            {
                "x0": float(edges[0]) + step / 2,
                "dx": step,
                "y": [round(float(value), 3) if value >= 0.5 else None for value in chance],
            },
        ],
        {
            "yaxis": {"range": [-0.3, top]},
            "xaxis": {"range": [float(edges[0]) - step, float(edges[-1]) + step]},
            "shapes": [] if score is None else [{**line, "x0": at, "x1": at} for at in (-score, score)],
        },
        html=render(_FACTS, row=row, numbers=numbers),
        note=f"{plain(row['vectors'])} of length {row['depth']}, score {number(score)}, "
        f"chance {number(row['baseline'])}",
        parts=[
            [
                STATE,
                row["name_x"],
                row["name_y"],
                what,
                bins_of_trace(0, 0),
                bins_of_trace(0, 1),
                of_trace(trace, "y"),
            ]
            for trace, what in enumerate(("pairs of vectors", "random directions"))
        ],
    )


def _expected(edges: np.ndarray, depth: int, pairs: int) -> np.ndarray:
    """Pairs per bin of random directions: (1 + cosine) / 2 has a symmetric Beta law."""
    if depth == 1:
        return np.zeros(len(edges) - 1)
    shares = np.diff(stats.beta.cdf((1 + edges) / 2, (depth - 1) / 2, (depth - 1) / 2))
    return np.asarray(shares * pairs)
