"""The spectrum of one matrix, over what noise of the same shape would look like."""

from __future__ import annotations

from typing import Any

from lmscope.report.figures import (
    BLUE,
    PURPLE,
    STATE,
    VERMILLION,
    Figure,
    Variant,
    bins_of_trace,
    of_trace,
)
from lmscope.report.lanes import by_layer
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.spectrum_chart import base, chart, layout_of_all
from lmscope.report.templates import render
from lmscope.report.words import number, plain
from lmscope.visible import visible

ORDER = 30

ALL_UP_TO, MOST_OTHERWISE = 2000, 600
"""Matrices up to which a page holds every spectrum, and how many it holds beyond; map and tables have all."""

_EDGES = {
    "sign-flip edge": "sign_flip_edge",
    "permutation edge": "permutation_edge",
    "iid edge": "upper_edge",
    "lower iid edge": "lower_edge",
}

_TEMPLATE = """
{% from "controls.html.jinja" import matrix_choice, view_choice %}
<div class="controls">
{{ matrix_choice(groups, first, "spectrum") }}
{{ view_choice("View", {"edges": "noise edges", "bulk": "bulk", "all": "all values"}, "spectrum") }}
<button data-save="spectrum">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="spectrum"></h3>
<div class="figure" id="spectrum" role="img" aria-label="Histogram of singular values over noise"></div>
<div data-html="spectrum"></div>
"""

_ABSENT = '<p class="warning">{{ text }}</p>'

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
{% if least_p %}<p class="note">{{ least_p }}</p>{% endif %}
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""


def section(records: Records) -> Section | None:
    if not records.spectra:
        return None
    first = max(range(len(records.spectra)), key=lambda index: records.spectra[index]["learnt"] or 0)
    kept = _kept(records.spectra)
    on_page = [(i, row) for i, row in enumerate(records.spectra) if kept is None or str(i) in kept]
    matrices = {str(index): row for index, row in enumerate(records.spectra)}
    least_p = _least_p(records.settings("spectra").get("draws"))
    figure = Figure(
        base(),
        layout_of_all(),
        {key: row["name"] for key, row in matrices.items()},
        lambda key: _variant(matrices[key], least_p),
        first=str(first),
        matrices=matrices,
        on_page=kept,
        absent=_absent(len(kept), len(matrices)) if kept else None,
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
        values={"groups": by_layer(on_page), "first": first},
        shows="Grey bars count the singular values (the strengths of the matrix's directions); the curve is "
        "what pure noise of this shape and scale gives. Lines mark how far each kind of noise "
        "reaches; ticks under the chart are the values outside, one tick each. Drag to zoom, "
        f"double-click to go back.{_some_only(len(kept), len(matrices)) if kept else ''}",
        surprise="Orange ticks are learnt: no sign flip of the same entries reaches them. Bars that follow "
        "the curve are indistinguishable from noise; bars spread far wider than the curve belong to a "
        "matrix whose rows or columns have no common scale. Values below the left edge, or many blue "
        "ticks without orange ones, come from uneven rows or columns as easily as from learning.",
        figure=figure,
    )


def _kept(rows: list[Row]) -> frozenset[str] | None:
    """Keys of the matrices whose spectra a page of a large model holds; None where it holds all.

    Layers take turns, each giving the matrix with most learnt values among those it has left.
    """
    if len(rows) <= ALL_UP_TO:
        return None
    turns: dict[int | None, int] = {}
    in_turn: list[tuple[int, int, int]] = []
    strongest = sorted(
        range(len(rows)), key=lambda i: (-(rows[i]["learnt"] or 0), -(rows[i]["n_above"] or 0), i)
    )
    for index in strongest:
        layer = rows[index]["layer"]
        turns[layer] = turns.get(layer, 0) + 1
        in_turn.append((turns[layer], len(in_turn), index))
    return frozenset(str(index) for *_, index in sorted(in_turn)[:MOST_OTHERWISE])


def _some_only(kept: int, matrices: int) -> str:
    return (
        f" To stay small the page holds the spectra of {number(kept)} of {number(matrices)} matrices: in "
        "every layer those with most learnt values."
    )


def _absent(kept: int, matrices: int) -> Variant:
    text = f'{_some_only(kept, matrices)} run.plot("spectrum", NAME) draws any of them from the records.'
    hidden = [{"visible": False}] * len(base())
    no_marks: dict[str, Any] = {"shapes": [], "annotations": []}
    return Variant(
        "No spectrum of this matrix on the page", hidden, no_marks, html=render(_ABSENT, text=text)
    )


def _least_p(draws: int | None) -> str:
    if draws is None:
        return ""
    return f"With {draws} draws the first two p-values cannot be smaller than {number(1 / (draws + 1), 2)}."


def _variant(row: Row, least_p: str) -> Variant:
    data, layout, views = chart(row)
    return Variant(
        f"{visible(row['name'])} ({row['rows']} × {row['columns']})",
        data,
        layout,
        html=render(_FACTS, row=row, numbers=_numbers(row), nulls=_nulls(row), least_p=least_p),
        views=views,
        parts=[
            [STATE, name, row[edge], None, None] for name, edge in _EDGES.items() if row[edge] is not None
        ],
    )


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
