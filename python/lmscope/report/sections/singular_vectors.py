"""Singular vectors of one matrix against random ones: p-values by rank, beside the untrained twin."""

from __future__ import annotations

from typing import Any

from lmscope.report.by_rank import (
    BUDGET,
    VIEWS,
    band,
    curve,
    edge_ranks,
    edges,
    layout,
    outside_words,
    over_ranks,
    points,
    share_below,
    views,
)
from lmscope.report.figures import STATE, Figure, Variant, of_trace
from lmscope.report.lanes import by_layer
from lmscope.report.location_rows import first_shown, in_page, matrices, of_which, remarks
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import number, plain
from lmscope.visible import visible

ORDER = 52

_LEVEL = 0.01
_SIDES = {"right": "right (inputs)", "left": "left (outputs)"}

_TEMPLATE = """
{% from "controls.html.jinja" import matrix_choice, remarks, view_choice %}
{{ remarks(said) }}
<div class="controls">{{ matrix_choice(groups, first, "singular_vectors") }}
{{ view_choice("Ranks", views, "singular_vectors") }}
<button data-save="singular_vectors">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="singular_vectors"></h3>
<div class="figure" id="singular_vectors" role="img" aria-label="p-values of singular vectors by rank"></div>
<div data-html="singular_vectors"></div>
"""

_FACTS = """
{% if row.warning %}<p class="warning">{{ row.warning }}</p>{% endif %}
<p class="note">{{ outside }} {{ calibration }}</p>
<div class="scroll"><table class="facts">
<thead><tr><th>Singular vectors<th class="n">p below {{ level }}<th class="n">of random ones
<th class="n">in the untrained twin<th class="n">mean deviation<th class="n">largest</tr></thead>
<tbody>
{% for side in sides %}
<tr><td>{{ side.name }}<td class="n">{{ side.share | percent }}<td class="n">{{ level | percent }}
<td class="n">{{ side.untrained | percent }}<td class="n">{{ side.mean | number }}
<td class="n">{{ side.most | number }}</tr>
{% endfor %}
</tbody></table></div>
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""

_ABSENT = '<p class="warning">{{ text }}</p>'


def section(records: Records) -> Section | None:
    rows = matrices(records)
    if not rows:
        return None
    kept = in_page(rows, BUDGET)
    shown = [(index, row) for index, row in enumerate(rows) if kept is None or str(index) in kept]
    first = first_shown(rows, kept)
    of = {str(index): row for index, row in enumerate(rows)}
    twin = any(row["untrained_p_right"] is not None for row in rows)
    figure = Figure(
        _BASE,
        layout("p, right vectors", "p, left vectors"),
        {key: row["name"] for key, row in of.items()},
        lambda key: _variant(of[key]),
        first=str(first),
        matrices=of,
        on_page=kept,
        absent=_absent() if kept else None,
        columns=["matrix", "what", "rank", "p-value, or mean over the window"],
        parts=[
            [STATE, f"{side}, {what}", {"trace": trace, "end": 0}, of_trace(trace, "y")]
            for side, start in (("right", 0), ("left", 3))
            for trace, what in zip(
                range(start, start + 3), ("untrained, window", "each", "window"), strict=True
            )
        ],
    )
    return Section(
        key="singular_vectors",
        title="Singular vectors: random or not",
        template=_TEMPLATE,
        values={"groups": by_layer(shown), "views": VIEWS, "first": first, "said": remarks(records)},
        shows="Every singular vector is tested against random unit vectors, whose entries are Gaussian "
        "(Porter–Thomas). Dots are p-values of single vectors, the blue line their mean over neighbouring "
        "ranks; under noise the line stays within the grey band around one half. "
        + ("Grey is the untrained twin: same configuration, random weights. " if twin else "")
        + "Dotted lines mark where the singular values leave the Marchenko–Pastur law. Drag to zoom, "
        f"double-click to go back.{_some_only(len(shown), len(rows))}{of_which(records)}",
        surprise="A blue line near 0 at the right end: vectors of the smallest values that are not random, "
        "where usual pruning expects nothing. A line inside the band all over: vectors that look untrained, "
        "whatever the singular values say. The test sees the sizes of entries only: a vector may be learnt "
        "and still pass it.",
        figure=figure,
    )


_BASE = [
    curve("untrained twin", "y", untrained=True),
    points("single vectors", "y", faint=True),
    curve("mean over neighbours", "y"),
    {**curve("untrained twin", "y2", untrained=True)},
    points("single vectors", "y2", faint=True),
    {**curve("mean over neighbours", "y2")},
]


def _variant(row: Row) -> Variant:
    shapes, names = edges(*edge_ranks(row))
    tested = row["windowed_low"] is not None
    bands = [band(row["windowed_low"], row["windowed_high"], axis) for axis in ("y", "y2") if tested]
    size = len(row["singular_values"])
    sides = [
        {
            "name": name,
            "share": share_below(row[f"p_{side}"], _LEVEL),
            "untrained": share_below(row[f"untrained_p_{side}"], _LEVEL),
            "mean": float(row[f"deviation_{side}"].mean()),
            "most": float(row[f"deviation_{side}"].max()),
        }
        for side, name in _SIDES.items()
    ]
    html = render(
        _FACTS,
        row=row,
        outside=outside_words(row),
        calibration=_calibration(row),
        level=_LEVEL,
        sides=sides,
        numbers=_numbers(row),
    )
    ranges = views(size)
    # Room for the ends of the axis, where p-values are 0 and 1.
    axis = {"range": [-0.03, 1.03]}
    return Variant(
        f"{visible(row['name'])} ({row['rows']} × {row['columns']})",
        [trace for side in _SIDES for trace in _traces(row, side)],
        {
            "xaxis": {"range": ranges["all"]},
            "yaxis": axis,
            "yaxis2": axis,
            "shapes": [*bands, *shapes],
            "annotations": names,
        },
        html=html,
        note=f"p-values of singular vectors as random ones, mean over {number(row['window'])} neighbours",
        views=ranges,
    )


def _traces(row: Row, side: str) -> list[dict[str, Any]]:
    return [
        over_ranks(row[f"untrained_windowed_{side}"]),
        over_ranks(row[f"p_{side}"]),
        over_ranks(row[f"windowed_{side}"]),
    ]


def _calibration(row: Row) -> str:
    if not row["draws"]:
        return "One side's vectors are too short to be tested."
    return (
        f"p-values from {number(row['draws'])} random vectors of the same length, so none is below "
        f"{number(1 / (row['draws'] + 1), 2)}; means over {number(row['window'])} neighbouring ranks, fewer "
        f"at the ends, where the band is too narrow. Noise keeps a full window's mean between "
        f"{number(row['windowed_low'])} and {number(row['windowed_high'])}."
    )


def _numbers(row: Row) -> list[tuple[str, str]]:
    return [
        ("residual of W v = s u, over the largest value", number(row["residual"], 2)),
        ("largest error of orthogonality", number(row["orthogonality"], 2)),
        ("computed by", str(row["method"])),
        ("role", plain(row["role"])),
        ("stored as", str(row["dtype"])),
        ("distinct values among 32 neighbours", number(row["levels"])),
    ]


def _some_only(kept: int, matrices: int) -> str:
    if kept == matrices:
        return ""
    return (
        f" To stay small the page holds the curves of {number(kept)} of {number(matrices)} matrices: in "
        "every layer those that deviate most."
    )


def _absent() -> Variant:
    text = 'Not on the page, to keep it small. run.plot("singular_vectors", NAME) draws it from the records.'
    no_marks: dict[str, Any] = {"shapes": [], "annotations": []}
    return Variant(
        "This matrix", [{"visible": False}] * len(_BASE), no_marks, html=render(_ABSENT, text=text)
    )
