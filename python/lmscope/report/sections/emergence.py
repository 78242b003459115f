"""When the ground state becomes unique: zero modes, spread of replicas, least eigenvalue over tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lmscope.report.figures import BLUE, GREEN, GREY, Figure, Variant
from lmscope.report.icl_axes import boundary, log_axis, spins
from lmscope.report.icl_charts import layout
from lmscope.report.icl_rows import (
    BANDS,
    LINE_COLUMNS,
    LOG_BANDS,
    Band,
    Choice,
    Point,
    at_settings,
    band,
    band_words,
    choices_of,
    chosen,
    fixed_words,
    line_data,
    line_part,
    line_traces,
    nothing_there,
    opening,
    points_of,
    states_of,
    view_choice,
)
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 78


@dataclass(frozen=True)
class _View:
    name: str
    axis: str
    note: str
    logarithmic: bool = False
    beside: str = ""
    """Column of a second line."""


_VIEWS = {
    "zero_mode_ratio": _View(
        "Zero modes",
        "zero modes / (D+1)²",
        "Share of the (D+1)² weights that the tasks leave free, beside 1 - min(P, D(D+1)) / (D+1)²; the D+1 "
        "weights of the last column never enter and stay",
        beside="expected_ratio",
    ),
    "unique": _View(
        "Uniqueness of the ground state",
        "share of seeds",
        "Share of the seeds whose ground state without regularization is unique, up to the last column",
    ),
    "spread": _View(
        "Spread of replicas",
        "mean variance of a weight",
        "Mean variance of the weights that enter, under the Boltzmann law: exact, and over sampled replicas",
        logarithmic=True,
        beside="spread_sampled",
    ),
    "overlap": _View(
        "Overlap of replicas",
        "mean cosine",
        "Mean cosine between the weights of two sampled replicas: 1 where all are alike",
    ),
    "smallest": _View(
        "Least eigenvalue that is not zero",
        "least eigenvalue of A",
        "Least eigenvalue, other than zero, of the Gram matrix A of the couplings",
        logarithmic=True,
    ),
}
_BESIDE = {"expected_ratio": "formula", "spread_sampled": "sampled replicas"}

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "emergence") }}
<div class="figure" id="emergence" role="img"
aria-label="Zero modes and spread of replicas against the number of tasks"></div>
<div data-html="emergence"></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("emergence")
    if not rows:
        return None
    views = view_choice("view", "Line shows", {key: view.name for key, view in _VIEWS.items()})
    choices = choices_of(rows, ("prompt_length", "dimension", "regularization", "inverse_temperature"), views)
    states = states_of(choices)
    figure = Figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "formula",
                "line": {"color": GREY, "width": 9},
                "opacity": 0.45,
                "hoverinfo": "skip",
            },
            *line_traces("measured", BLUE),
            *line_traces("sampled replicas", GREEN, dash="dash", symbol="diamond-open"),
        ],
        layout({"showgrid": False}, legend=1.08),
        states,
        lambda key: _variant(rows, choices, key, states[key]),
        first=opening(choices, "prompt_length"),
        columns=["line", "tasks", *LINE_COLUMNS[2:]],
    )
    return Section(
        key="emergence",
        title="Emergence: when the tasks fix the weights",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="Tasks seen in training against what they leave open. Of the (D+1)² weights of linear "
        "attention D(D+1) enter its prediction; fewer tasks than that leave directions in which weights "
        "change and no training task notices. At P = D(D+1), the dotted line, the last one closes: one "
        "ground state is left, and replicas of the system agree. Experiment emergence.",
        surprise="A measured ratio off the formula: then tasks are not independent, or an eigenvalue was "
        "taken for zero that is not. A spread that bends elsewhere than at the dotted line.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], key: str, label: str) -> Variant:
    settings = chosen(choices, key)
    view = _VIEWS[settings["view"]]
    some = at_settings(rows, settings)
    points = _points(some, settings["view"], view)
    if not points:
        return nothing_there(label, some, 7)
    formula = view.beside == "expected_ratio"
    beside = points_of(some, "tasks", view.beside, logarithmic=view.logarithmic) if view.beside else []
    second = [] if formula else beside
    line, name = boundary(settings["dimension"])
    bend = _bend(some) if settings["view"] == "spread" else None
    bands = f". {LOG_BANDS if view.logarithmic else BANDS}" if settings["view"] != "unique" else ""
    fixed = fixed_words(choices)
    note = f"{view.note}{bands}{f'. Everything at {fixed}' if fixed else ''}"
    return Variant(
        label,
        [
            {
                "x": [one.x for one in beside],
                "y": [one.band.mean for one in beside],
                "visible": formula,
            },
            *line_data(points, lambda one: _hover(one, view)),
            *line_data(second, lambda one: f"<b>sampled replicas</b>, {_hover(one, view)}"),
        ],
        {
            "xaxis": log_axis([one.x for one in points], "tasks P"),
            "yaxis": _y_axis([*points, *second], view),
            "shapes": [line, *([] if bend is None else [_mark(bend)])],
            "annotations": [name],
        },
        html=f'<p class="note">{as_html(note)}.</p>{_said(some, settings)}{_bends(some)}',
        note=note,
        parts=[
            line_part("measured", points),
            *([line_part(_BESIDE[view.beside], beside)] if beside else []),
        ],
    )


def _points(rows: list[Row], column: str, view: _View) -> list[Point]:
    points = points_of(rows, "tasks", column, logarithmic=view.logarithmic)
    if column != "unique":
        return points
    # Student's interval is none of a share.
    return [Point(one.x, Band(one.band.mean, None, None, one.band.seeds), one.rows) for one in points]


def _y_axis(points: list[Point], view: _View) -> dict[str, Any]:
    if not view.logarithmic:
        return {"type": "linear", "title": {"text": view.axis}, "rangemode": "tozero", "tickmode": "auto"}
    ends = [end for one in points for end in (one.band.low, one.band.mean, one.band.high) if end]
    return log_axis(ends, view.axis)


def _hover(point: Point, view: _View) -> str:
    row = point.rows[0]
    told = number(point.band.mean, 4) if view.axis == "share of seeds" else band_words(point.band)
    of_modes = ""
    if view.beside == "expected_ratio":
        modes = sorted({one["zero_modes"] for one in point.rows if one["zero_modes"] is not None})
        known = f"{number(modes[0])} to {number(modes[-1])}" if len(modes) > 1 else number(modes[0])
        of_modes = f"<br>{known} zero modes of {number((row['dimension'] + 1) ** 2)}; formula "
        of_modes += number(row["expected_ratio"], 4)
    return f"P = {number(point.x)}: {told}{of_modes}"


def _bend(rows: list[Row]) -> Band | None:
    """Over seeds: all rows of one have the same."""
    known = {row["seed"]: row["bend"] for row in rows if row["bend"] is not None}
    return band(list(known.values())) if known else None


def _mark(bend: Band) -> dict[str, Any]:
    """Where the spread bends: its interval over seeds, or a line of one seed."""
    low, high = (bend.mean if end is None else end for end in (bend.low, bend.high))
    box = {"type": "rect", "x0": low, "x1": high, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    return {**box, "fillcolor": GREEN, "opacity": 0.3, "line": {"color": GREEN, "width": 1}}


def _bends(rows: list[Row]) -> str:
    bend = _bend(rows)
    if bend is None:
        return ""
    return (
        f"<p>The spread bends at P = {band_words(bend)}, the green strip of its chart, where two straight "
        "lines through it meet.</p>"
    )


def _said(rows: list[Row], settings: dict[str, Any]) -> str:
    """The numbers of tasks around which the ground state becomes unique."""
    known = [row for row in rows if row["unique"] is not None]
    open_ = [row["tasks"] for row in known if not row["unique"]]
    closed = [row["tasks"] for row in known if row["unique"]]
    at = spins(settings["dimension"])
    if not open_ or not closed:
        side = "no number" if not closed else "every number"
        return f"<p>With {side} of tasks looked at the ground state is unique; D(D+1) is {number(at)}.</p>"
    return (
        f"<p>The ground state is unique in some seed from P = {number(min(closed))}, and is not in some "
        f"seed up to P = {number(max(open_))}; D(D+1) is {number(at)}.</p>"
    )
