"""The spectrum of one difference, beside what rounding reaches and what its own sign flips reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.report.difference_rows import change, difference_rows, where_changed
from lmscope.report.figures import BLUE, GREY, STATE, VERMILLION, Figure, Variant, of_trace, packed
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import count, number, p_value, percent, plain
from lmscope.visible import visible

ORDER = 15

ALL_UP_TO, MOST_OTHERWISE = 2000, 600
"""Matrices up to which a page holds every spectrum, and how many it holds beyond: those that moved most."""

_MOST_POINTS = 160

_TEMPLATE = """
{% from "controls.html.jinja" import matrix_choice %}
<div class="controls">
{{ matrix_choice([("", rows)], first, "difference_spectrum") }}
<button data-save="difference_spectrum">Data (CSV)</button>
</div>
<h3 class="chosen" data-title="difference_spectrum"></h3>
<div class="figure" id="difference_spectrum" role="img"
aria-label="Singular values of the difference by rank, with the edges of the noise"></div>
<div data-html="difference_spectrum"></div>
"""

_ABSENT = '<p class="warning">{{ text }}</p>'

_FACTS = """
{% if row.warning %}<p class="warning">{{ row.warning }}</p>{% endif %}
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""


def section(records: Records) -> Section | None:
    spectra = {row["name"]: row["singular_values"] for row in records.rows("difference")}
    # Keys are places in the map's order, identical matrices included.
    matrices = {str(index): row for index, row in enumerate(difference_rows(records)) if not row["identical"]}
    if not matrices:
        return None
    strongest = sorted(matrices, key=lambda key: -(matrices[key]["relative_change"] or 0.0))
    kept = frozenset(strongest[:MOST_OTHERWISE]) if len(matrices) > ALL_UP_TO else None
    rounding = records.settings("difference").get("rounding", "both")
    figure = Figure(
        _base(),
        _LAYOUT,
        {key: row["name"] for key, row in matrices.items()},
        lambda key: _variant(matrices[key], spectra[matrices[key]["name"]], rounding),
        first=strongest[0],
        matrices=matrices,
        on_page=kept,
        absent=_absent(len(matrices)) if kept else None,
        columns=["matrix", "what", "rank", "singular value"],
        parts=[
            [STATE, "value above rounding", of_trace(0, "x"), of_trace(0, "y")],
            [STATE, "value within rounding", of_trace(1, "x"), of_trace(1, "y")],
        ],
    )
    return Section(
        key="difference_spectrum",
        title="Spectrum of one difference",
        template=_TEMPLATE,
        values={
            "rows": [(key, row) for key, row in matrices.items() if kept is None or key in kept],
            "first": strongest[0],
        },
        shows="The singular values of tuned minus base, largest first, both axes logarithmic (of a long "
        "spectrum some of the values, evenly over the ranks). Lines mark how far rounding of the stored "
        "numbers reaches, and the difference's own entries with random signs.",
        surprise="A cliff is the rank of the update: what lies behind it is rounding. Values above rounding "
        "but below the sign flips changed for certain, yet in no direction that stands out.",
        figure=figure,
    )


_LAYOUT: dict[str, Any] = {
    "height": 420,
    "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
    "hovermode": "closest",
    "legend": {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "itemclick": False,
        "itemdoubleclick": False,
    },
    "xaxis": {"type": "log", "title": {"text": "rank"}, "automargin": True, "showgrid": False, "dtick": 1},
    "yaxis": {
        "type": "log",
        "title": {"text": "singular value"},
        "automargin": True,
        "exponentformat": "e",
        "dtick": 1,
    },
}


def _base() -> list[dict[str, Any]]:
    def points(name: str, colour: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "marker": {"color": colour, "size": 7},
            "hovertemplate": "value %{x}: %{y:.4g}<extra></extra>",
        }

    return [points("above rounding", VERMILLION), points("within rounding", GREY)]


def _variant(row: Row, values: NDArray[np.float64], rounding: str) -> Variant:
    above = row["n_above_rounding"]
    # A logarithmic axis has no place for zeros.
    end = max(above, int(np.count_nonzero(values > 1e-9 * values[0])))
    traces = [
        _trace(values, 0, above, f"{count(above, 'value')} above rounding"),
        _trace(values, above, end, "within rounding"),
    ]
    edges = [("rounding", row["rounding_edge"], GREY), ("sign flips", row["sign_flip_edge"], BLUE)]
    shown = [float(values[0]), float(values[end - 1]), *(edge for _, edge, _ in edges)]
    low, high = np.log10(min(shown)), np.log10(max(shown))
    room = 0.06 * max(high - low, 0.5)
    decades = high - low
    layout = {
        "shapes": [_line(edge, colour) for _, edge, colour in edges],
        "annotations": [_name(f"{what}: {number(edge, 3)}", edge, colour) for what, edge, colour in edges],
        "yaxis": {
            "range": [low - room, high + 2 * room],
            "dtick": 1 if decades > 1.5 else "D1",
        },
        "xaxis": {"range": [-0.1, np.log10(max(end, 2)) + 0.1]},
    }
    return Variant(
        f"{visible(row['name'])} ({row['rows']} × {row['columns']})",
        traces,
        layout,
        html=render(_FACTS, row=row, numbers=_numbers(row, len(values), rounding)),
        parts=[[STATE, f"edge of {what}", None, edge] for what, edge, _ in edges],
    )


def _trace(values: NDArray[np.float64], first: int, end: int, name: str) -> dict[str, Any]:
    if first == end:
        return {"x": [], "y": [], "name": name, "visible": False}
    wanted = np.geomspace(first + 1, end, _MOST_POINTS)
    ranks = np.unique(np.round(wanted).astype(np.int64)) if end - first > _MOST_POINTS else None
    ranks = np.arange(first + 1, end + 1) if ranks is None else ranks
    return {"x": packed(ranks, "u4"), "y": packed(values[ranks - 1]), "name": name, "visible": True}


def _line(edge: float, colour: str) -> dict[str, Any]:
    ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": edge, "y1": edge}
    return {"type": "line", **ends, "line": {"color": colour, "width": 1.8, "dash": "dash"}}


def _name(text: str, edge: float, colour: str) -> dict[str, Any]:
    place = {"x": 1, "xref": "paper", "xanchor": "right", "y": float(np.log10(edge)), "yanchor": "bottom"}
    return {"text": text, **place, "showarrow": False, "font": {"color": colour}}


def _absent(matrices: int) -> Variant:
    text = (
        f"To stay small the page holds the spectra of {number(MOST_OTHERWISE)} of {number(matrices)} "
        'differences, those that moved most. run.plot("difference_spectrum", NAME) draws any of them.'
    )
    hidden: list[dict[str, Any]] = [{"visible": False}] * 2
    no_marks: dict[str, Any] = {"shapes": [], "annotations": []}
    return Variant(
        "No spectrum of this difference on the page", hidden, no_marks, html=render(_ABSENT, text=text)
    )


def _numbers(row: Row, values: int, rounding: str) -> list[tuple[str, str]]:
    whose = "both sides" if rounding == "both" else "the tuned side"
    return [
        (f"above rounding of {whose}", f"{number(row['n_above_rounding'])} of {number(values)}"),
        ("energy above rounding", percent(row["energy_above_rounding"])),
        ("learnt (above sign flips)", f"{number(row['learnt'])}, p = {p_value(row['sign_flip_p_value'])}"),
        ("relative change", change(row["relative_change"])),
        ("entries changed", percent(row["changed_share"])),
        ("they lie", where_changed(row)),
        ("modelled rounding / difference", percent(row["rounding_share"])),
        ("effective rank", number(row["effective_rank"])),
        ("stable rank", number(row["stable_rank"])),
        ("cosine of base and tuned", number(row["cosine"], 6)),
        ("role", plain(row["role"])),
        ("values held by", f"{row['base_precision']}, {row['tuned_precision']}"),
    ]
