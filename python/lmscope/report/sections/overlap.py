"""Overlap of one matrix's right singular vectors with the directions in which its inputs vary."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmscope.report.by_rank import (
    BUDGET,
    RANK,
    VIEWS,
    band,
    edge_ranks,
    edges,
    layout,
    outside_words,
    over_ranks,
    over_values,
    points,
    views,
)
from lmscope.report.figures import STATE, VERMILLION, Figure, Variant, of_trace, without_chart
from lmscope.report.lanes import by_layer
from lmscope.report.location_rows import failures, first_shown, in_page, matrices, of_which, remarks
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import number, percent, rate
from lmscope.visible import visible

ORDER = 53

_TITLE = "Overlap: singular vectors and activations"
_AXES = {"rank": RANK, "value": "singular value"}

_TEMPLATE = """
{% from "controls.html.jinja" import matrix_choice, remarks, view_choice %}
{{ remarks(said) }}
<div class="controls">{{ matrix_choice(groups, first, "singular_vectors") }}
<input type="hidden" data-part="overlap">
<label>Against <select data-part="overlap">
{% for key, name in axes.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
</select></label>
{{ view_choice("Range", views, "overlap") }}
<button data-save="overlap">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="overlap"></h3>
<div data-html="overlap"></div>
<div class="figure" id="overlap" role="img" aria-label="Overlaps by rank over the band of noise"></div>
"""

_FACTS = """
{% for text in warned %}<p class="warning">{{ text }}</p>{% endfor %}
<p class="note">{{ about }}</p>
"""


def section(records: Records) -> Section | None:
    rows = matrices(records)
    of = {str(index): {**row, **row["overlaps"]} for index, row in enumerate(rows) if row["overlaps"]}
    failed = failures(records, "overlap")
    if not of:
        return _only_failures(failed) if failed else None
    kept = in_page(rows, BUDGET)
    first = first_shown(rows, frozenset(of.keys() & (kept or of.keys())) or frozenset(of))
    on_page = None if kept is None else frozenset(f"{key}:{axis}" for key in kept for axis in _AXES)
    shown = [(index, row) for index, row in enumerate(rows) if kept is None or str(index) in kept]
    twin = any(row["untrained_overlap"] is not None for row in of.values())
    figure = Figure(
        _BASE,
        layout("largest overlap", "share in top space"),
        {
            f"{key}:{axis}": row["name"] + ("" if axis == "rank" else f", against {name}")
            for key, row in of.items()
            for axis, name in _AXES.items()
        },
        lambda key: _variant(of[key.partition(":")[0]], key.partition(":")[2]),
        first=f"{first}:rank",
        matrices={f"{key}:{axis}": row for key, row in of.items() for axis in _AXES},
        follows="singular_vectors",
        on_page=on_page,
        absent=_absent(),
        columns=["matrix", "what", "rank, or singular value", "overlap, or share in the top space"],
    )
    return Section(
        key="overlap",
        title=_TITLE,
        template=_TEMPLATE,
        values={
            "groups": by_layer(shown),
            "views": VIEWS,
            "first": first,
            "axes": {"rank": "rank", "value": "singular value"},
            "said": [*remarks(records), *failed],
        },
        shows="Above: for every right singular vector, its largest |cosine| with one of the directions in "
        "which the matrix's inputs vary on the given text (eigenvectors of their covariance). Below: the "
        "squared length of its part in the space of the strongest of these directions, which also sees "
        "alignment that is spread over several; the orange steps are the principal angles between that space "
        "and each slice as a whole. Bands are where random directions lie. "
        + ("Grey is the untrained twin with activations of its own." if twin else "")
        + of_which(records),
        surprise="Overlaps above the band left or right of the iid edges, and none between, is what training "
        "does in the literature. Points above the band inside the bulk, or an untrained twin that leaves the "
        "band as well: then the inputs, not the training of this matrix, make the overlap.",
        figure=figure,
    )


def _only_failures(failed: list[str]) -> Section:
    return Section(
        key="overlap",
        title=_TITLE,
        template='{% from "controls.html.jinja" import remarks %}{{ remarks(said) }}',
        values={"said": failed},
    )


_STEPS = {
    "type": "scatter",
    "mode": "lines",
    "name": "whole slices",
    "yaxis": "y2",
    "line": {"color": VERMILLION, "width": 2},
    "hovertemplate": "slice: %{y:.3g}<extra></extra>",
}
_BASE = [
    points("untrained twin", "y", untrained=True),
    points("singular vectors", "y"),
    points("untrained twin", "y2", untrained=True),
    points("singular vectors", "y2"),
    _STEPS,
]


def _variant(row: Row, axis: str) -> Variant:
    values = row["singular_values"]
    by_rank = axis == "rank"

    def points_of(column: str) -> dict[str, Any]:
        if by_rank:
            return over_ranks(row[column])
        at = row["untrained_singular_values"] if column.startswith("untrained") else values
        return over_values(row[column], at)

    # The lower edge of a square matrix is 0: nothing lies below it.
    ends = edge_ranks(row) if by_rank else (row["upper_edge"], row["lower_edge"] or None)
    shapes, names = edges(*ends, ascending=not by_rank)
    ranges = views(len(values)) if by_rank else _value_views(row)
    bands = [
        band(row["null_low"], row["null_high"], "y"),
        band(row["top_low"], row["top_high"], "y2"),
    ]
    columns = ("untrained_overlap", "overlap", "untrained_top_share", "top_share")
    return Variant(
        f"{visible(row['name'])} ({row['rows']} × {row['columns']})",
        [*map(points_of, columns), _steps(row, by_rank)],
        {
            "xaxis": {"title": {"text": _AXES[axis]}, "range": ranges["all"]},
            "yaxis": {
                "range": _from_zero(row, "overlap", row["null_high"]),
                "title": {"text": _largest(row)},
            },
            "yaxis2": {"range": _from_zero(row, "top_share", row["top_high"])},
            "shapes": [*bands, *shapes],
            "annotations": names,
        },
        html=render(_FACTS, about=_about(row), warned=_warned(row)),
        note=f"{_sample(row)}; band of random directions at {percent(row['false_positive_rate'])}",
        views=ranges,
        parts=[
            *(
                [STATE, what, {"trace": at, "end": 0} if by_rank else of_trace(at, "x"), of_trace(at, "y")]
                for at, (column, what) in enumerate(zip(columns, _PARTS, strict=True))
                if points_of(column)["visible"]
            ),
            *([_slices_of(row)] if by_rank and _has_steps(row) else []),
        ],
    )


_PARTS = ("untrained, overlap", "overlap", "untrained, share in top space", "share in top space")


def _slices_of(row: Row) -> list[Any]:
    firsts, shares = ([one[name] for one in row["slices"]] for name in ("first_rank", "principal"))
    return [STATE, "whole slice from this rank, share in top space", firsts, shares]


def _largest(row: Row) -> str:
    return "largest signed cosine" if row["signed"] else "largest |cosine|"


def _from_zero(row: Row, column: str, band_end: float) -> list[float]:
    known = [row[name] for name in (column, f"untrained_{column}") if row[name] is not None]
    top = max(band_end, *(float(one.max()) for one in known))
    bottom = min(0.0, *(float(one.min()) for one in known))
    return [bottom - 0.03 * (top - bottom), top + 0.06 * (top - bottom)]


def _value_views(row: Row) -> dict[str, list[float]]:
    values = row["singular_values"]
    tenth = max(1, round(len(values) / 10))
    ends = {"all": (values[-1], values[0]), "largest": (values[tenth - 1], values[0])}
    ends["smallest"] = (values[-1], values[-tenth])
    return {
        name: [float(low - 0.02 * (high - low)), float(high + 0.02 * (high - low))]
        for name, (low, high) in ends.items()
    }


def _steps(row: Row, by_rank: bool) -> dict[str, Any]:
    """A piece of line for each slice, over its ranks or values."""
    if not _has_steps(row):
        return {"visible": False}
    values = row["singular_values"]
    x: list[float | None] = []
    y: list[float | None] = []
    for one in row["slices"]:
        ends = (one["first_rank"], one["last_rank"])
        x += [*(ends if by_rank else (float(values[rank]) for rank in ends)), None]
        y += [one["principal"], one["principal"], None]
    return {"x": x, "y": y, "visible": True}


def _has_steps(row: Row) -> bool:
    """The slices may be older than the overlaps, in a run that was killed between them."""
    return bool(row["slices"]) and all(one["principal"] is not None for one in row["slices"])


def _sample(row: Row) -> str:
    effective = row["effective_sample"]
    worth = "" if effective is None else f" (worth {number(effective)} independent ones)"
    rank = f"rank {number(row['covariance_rank'])} of {number(row['columns'])}"
    return f"Covariance of {number(row['tokens'])} tokens{worth}, {rank}"


def _about(row: Row) -> str:
    above = float(np.mean(row["overlap"] > row["null_high"]))
    twin = row["untrained_overlap"]
    beside = (
        "" if twin is None else f" ({percent(float(np.mean(twin > row['null_high'])))} in the untrained twin)"
    )
    return (
        f"{_sample(row)}, {'centred' if row['centered'] else 'not centred'}. "
        f"{percent(above)} of the vectors{beside} lie above the band, and "
        f"{rate(row['false_positive_rate'] / 2)} of random directions; its middle is "
        f"{number(row['null_location'])}. The top space is spanned by {number(row['top'])} of "
        f"{number(row['columns'])} directions. "
        f"{outside_words(row)}"
    )


def _warned(row: Row) -> list[str]:
    told = [row["warning"]] if row["warning"] else []
    if row["covariance_rank"] < row["columns"]:
        told.append(
            f"The covariance has rank {number(row['covariance_rank'])} of {number(row['columns'])}: the "
            "directions without variance are arbitrary, and so are overlaps with them. A longer text would "
            "tell."
        )
    return told


def _absent() -> Variant:
    return without_chart(
        "This matrix",
        '<p class="warning">No overlaps of this matrix on the page: it has no inputs of its own on the '
        "text, its overlaps failed or were not asked for, or the page would grow too large.</p>",
        len(_BASE),
    )
