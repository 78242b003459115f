"""Where approximate message passing converges, and how far it then is from the exact answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lmscope.report.figures import STATE, VERMILLION, Figure, Variant
from lmscope.report.icl_axes import boundary, cell_edges, log_axis, log_ticks, tick_words
from lmscope.report.icl_rows import (
    Choice,
    at_settings,
    choices_of,
    chosen,
    fixed_note,
    key_of,
    nothing_there,
    states_of,
    view_choice,
)
from lmscope.report.pair_heatmap import HEATMAP
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, count, number, percent, rate

ORDER = 82

SETTINGS = ("prompt_length", "dimension", "inverse_temperature")
"""Columns that both figures offer a choice of."""
_ONSAGER = "onsager"


@dataclass(frozen=True)
class _View:
    name: str
    note: str
    logarithmic: bool = True


_VIEWS = {
    "converged": _View(
        "Convergence", "Share of the seeds that converged within the steps allowed", logarithmic=False
    ),
    "mean_error": _View(
        "Error of the means",
        "Largest difference between a mean and the exact ground state, the worst of the seeds that did not "
        "diverge",
    ),
    "variance_error": _View(
        "Error of the variances",
        "Largest relative error of a variance beside the exact one, the worst of the seeds that did not "
        "diverge",
    ),
    "loss_ratio": _View(
        "Loss beside the ground state's",
        "Loss of the means on unseen tasks over that of the exact ground state, the worst of the seeds that "
        "did not diverge",
    ),
    "steps": _View("Steps", "Sweeps that were made, mean over seeds"),
}

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "amp") }}
<div class="figure" id="amp" role="img"
aria-label="Convergence and error of message passing over tasks and regularization"></div>
<div data-html="amp"></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("amp")
    if not rows:
        return None
    choices = choices_of(
        rows,
        SETTINGS,
        view_choice("view", "Colours show", {key: view.name for key, view in _VIEWS.items()}),
        onsager_choice(rows),
    )
    states = states_of(choices)
    courses = course_choices(rows)
    figure = Figure(
        [
            {**HEATMAP, "xgap": 1, "ygap": 1},
            {
                "type": "scatter",
                "mode": "markers",
                "name": "a seed diverged",
                "marker": {"symbol": "x-thin", "size": 9, "line": {"width": 2.5, "color": VERMILLION}},
                "hoverinfo": "skip",
            },
        ],
        {
            "height": 460,
            "margin": {"l": 10, "r": 10, "t": 54, "b": 44},
            "hovermode": "closest",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1.08, "yanchor": "bottom"},
        },
        states,
        lambda key: _variant(rows, choices, courses, key, states[key]),
        first=next(iter(states)),
        selects="amp_course",
        columns=["what", "tasks", "regularization", "value", "seeds", "converged", "diverged"],
    )
    return Section(
        key="amp",
        title="Message passing: where it converges",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="Approximate message passing finds means and variances of the weights by local updates. Each "
        "cell is a number of tasks and a regularization; a cross says that some seed diverged there. With "
        "the Onsager term, which takes back what a weight hears of itself, means at rest are the exact "
        "ground state; without it, as in the paper's code, they are biased. A click on a cell shows the "
        "course of its changes below. Experiment amp.",
        surprise="Errors of converged means above 1e-5 with the Onsager term, or of the variances above a "
        "few percent with many tasks. Divergence with many tasks and a strong regularization.",
        figure=figure,
    )


def onsager_choice(rows: list[Row]) -> Choice:
    held = [kind for kind in (True, False) if any(row[_ONSAGER] is kind for row in rows)]
    names = {True: "with the Onsager term", False: "without the Onsager term"}
    keys = {kind: "with" if kind else "without" for kind in held}
    return Choice(
        _ONSAGER,
        "Message passing",
        {keys[kind]: names[kind] for kind in held},
        {keys[kind]: kind for kind in held},
    )


def course_choices(rows: list[Row]) -> list[Choice]:
    """Of the figure below, which a cell switches."""
    return choices_of(rows, ("tasks", "regularization", *SETTINGS))


def _variant(
    rows: list[Row], choices: Sequence[Choice], courses: Sequence[Choice], key: str, label: str
) -> Variant:
    settings = chosen(choices, key)
    view = _VIEWS[settings["view"]]
    some = [row for row in at_settings(rows, settings) if row["regularization"] > 0]
    cells: dict[tuple[float, int], list[Row]] = {}
    for row in some:
        cells.setdefault((row["regularization"], row["tasks"]), []).append(row)
    if not cells:
        return nothing_there(label, some, 2)
    levels, tasks = sorted({level for level, _ in cells}), sorted({at for _, at in cells})
    values = {at: _value(held, settings["view"]) for at, held in cells.items()}
    least = min((value for value in values.values() if value), default=1.0)
    # An error of exactly 0 has no place on a logarithmic scale: it takes the colour of the least one.
    drawn = {
        at: value if value is None or not view.logarithmic else math.log10(value or least)
        for at, value in values.items()
    }
    x, y = cell_edges(tasks), cell_edges(levels)
    line, name = boundary(settings["dimension"])
    crossed = [at for at, held in cells.items() if any(row["diverged"] for row in held)]
    below = " ".join(filter(None, [f"{view.note}.", fixed_note(choices)]))
    ordered = sorted(cells)
    return Variant(
        label,
        [
            {
                "x": x,
                "y": y,
                "z": [[drawn.get((level, at)) for at in tasks] for level in levels],
                "hovertext": [[_hover(cells.get((level, at), []), view) for at in tasks] for level in levels],
                "customdata": [
                    [_key(courses, cells.get((level, at), [])) for at in tasks] for level in levels
                ],
                **_colours(values.values(), view),
            },
            {
                "x": [at for _, at in crossed],
                "y": [level for level, _ in crossed],
                "visible": bool(crossed),
            },
        ],
        {
            "xaxis": {**log_axis(x, "tasks P", edges=True), "showgrid": False},
            "yaxis": {**log_axis(y, "regularization λ₀", edges=True), "showgrid": False},
            "shapes": [line],
            "annotations": [name],
        },
        html=f'<p class="note">{as_html(below)}</p><p>{as_html(_said(some, settings[_ONSAGER]))}</p>',
        note=view.note,
        parts=[
            [
                STATE,
                [at for _, at in ordered],
                [level for level, _ in ordered],
                [values[at] for at in ordered],
                [len(cells[at]) for at in ordered],
                *([sum(row[of] for row in cells[at]) for at in ordered] for of in ("converged", "diverged")),
            ]
        ],
    )


def _value(rows: list[Row], view: str) -> float | None:
    if view in ("converged", "steps"):
        return fmean(row[view] for row in rows)
    if view == "loss_ratio":
        known = [row for row in rows if row["loss"] is not None and row["ridge_loss"]]
        return max((row["loss"] / row["ridge_loss"] for row in known), default=None)
    return max((row[view] for row in rows if row[view] is not None), default=None)


def _colours(values: Any, view: _View) -> dict[str, Any]:
    if not view.logarithmic:
        return {
            "zmin": 0,
            "zmax": 1,
            "colorbar": {
                "tickmode": "array",
                "tickvals": [0, 0.5, 1],
                "ticktext": ["none", "half", "all"],
            },
        }
    known = [value for value in values if value]
    low, high = (min(known), max(known)) if known else (1.0, 10.0)
    if high < 1.01 * low:
        low, high = low / 1.01, high * 1.01
    ticks = log_ticks(low, high)
    return {
        "zmin": math.log10(low),
        "zmax": math.log10(high),
        "colorbar": {
            "tickmode": "array",
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [tick_words(tick) for tick in ticks],
        },
    }


def _key(courses: Sequence[Choice], rows: list[Row]) -> str | None:
    return key_of(courses, rows[0]) if rows else None


def _hover(rows: list[Row], view: _View) -> str:
    if not rows:
        return "no record"
    row = rows[0]
    converged, diverged = (sum(one[of] for one in rows) for of in ("converged", "diverged"))
    told = [
        f"P = {number(row['tasks'])}, λ₀ = {number(row['regularization'])}",
        f"{converged} of {count(len(rows), 'seed')} converged, {diverged} diverged; "
        f"{number(fmean(one['steps'] for one in rows))} steps on average",
    ]
    for column, name in (("mean_error", "means"), ("variance_error", "variances")):
        value = _value(rows, column)
        told.append(f"largest error of the {name}: {number(value)}")
    reason = next((one["reason"] for one in rows if one["reason"]), "")
    return "<br>".join(told) + (f"<br>{as_html(reason)}" if reason else "")


def _said(rows: list[Row], onsager: bool) -> str:
    """How many converged, and the largest errors among them."""
    held = [row for row in rows if row["converged"]]
    kind = "With" if onsager else "Without"
    diverged = sum(row["diverged"] for row in rows)
    told = (
        f"{kind} the Onsager term {number(len(held))} of {count(len(rows), 'run')} "
        f"({percent(len(held) / len(rows))}) converged, {number(diverged)} diverged."
    )
    means, variances = (
        max((row[column] for row in held if row[column] is not None), default=None)
        for column in ("mean_error", "variance_error")
    )
    if means is None or variances is None:
        return told
    return (
        f"{told} Where it converged, means are off by {number(means)} at most, variances by "
        f"{rate(variances)}."
    )
