"""How the changes of means and variances shrink, or grow, from sweep to sweep of message passing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmscope.report.figures import BLUE, VERMILLION, Figure, Variant
from lmscope.report.icl_axes import log_axis
from lmscope.report.icl_rows import Choice, at_settings, chosen, fixed_note, nothing_there, states_of
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.sections.amp import course_choices
from lmscope.report.words import as_html, count, number

ORDER = 83
_MOST_POINTS = 120
"""Of one course on the page: a longer one is thinned, its end kept."""

_KINDS = {True: ("with the Onsager term", BLUE, "solid"), False: ("without it", VERMILLION, "dash")}

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "amp_course") }}
<div class="figure" id="amp_course" role="img" aria-label="Changes by sweep of message passing"></div>
<p class="note" data-html="amp_course"></p>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("amp")
    if not rows:
        return None
    choices = course_choices(rows)
    states = states_of(choices)
    figure = Figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "line": {"color": colour, "width": 1.5, "dash": dash},
                "connectgaps": False,
                "hoverinfo": "text",
            }
            for name, colour, dash in _KINDS.values()
        ],
        {
            "height": 380,
            "margin": {"l": 10, "r": 20, "t": 40, "b": 44},
            "hovermode": "closest",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "title": {"text": "sweep"},
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
                "rangemode": "tozero",
            },
        },
        states,
        lambda key: _variant(rows, choices, key, states[key]),
        first=next(iter(states)),
        columns=["message passing", "seed", "sweep", "change"],
    )
    return Section(
        key="amp_course",
        title="Course: changes from sweep to sweep",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="Mean squared change of means and variances in every sweep of message passing, one line per seed. A "
        "straight line downwards is convergence, and its slope the rate.",
        surprise="A line that levels off above the tolerance, or turns upwards: the updates chase each other, and "
        "more damping or regularization is needed.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], key: str, label: str) -> Variant:
    some = at_settings(rows, chosen(choices, key))
    courses = {
        kind: [(row, *_thinned(row["changes"])) for row in some if row["onsager"] is kind] for kind in _KINDS
    }
    sizes = [float(value) for held in courses.values() for _, _, changes in held for value in changes]
    if not any(value > 0 for value in sizes):
        return nothing_there(label, some, len(_KINDS))
    thinned = any(len(row["changes"]) > _MOST_POINTS for row in some)
    note = "Mean squared change of means and variances, one line per seed" + (
        f"; of long courses {_MOST_POINTS} sweeps, the last among them" if thinned else ""
    )
    fates = "; ".join(_fate(kind, [row for row, _, _ in held]) for kind, held in courses.items() if held)
    below = " ".join(filter(None, [f"{note}. {fates}.", fixed_note(choices)]))
    return Variant(
        label,
        [_lines(kind, held) for kind, held in courses.items()],
        {"yaxis": {**log_axis(sizes, "mean squared change"), "zeroline": False}},
        html=as_html(below),
        note=note,
        parts=[
            [_KINDS[kind][0], row["seed"], sweeps.tolist(), changes.tolist()]
            for kind, held in courses.items()
            for row, sweeps, changes in held
        ],
    )


def _thinned(changes: Any) -> tuple[Any, Any]:
    """Numbers of sweeps, from 1, and their changes."""
    every = np.arange(len(changes))
    if len(every) > _MOST_POINTS:
        every = np.unique(np.linspace(0, len(changes) - 1, _MOST_POINTS).round().astype(int))
    return every + 1, np.asarray(changes, dtype=np.float64)[every]


def _lines(kind: bool, held: list[tuple[Row, Any, Any]]) -> dict[str, Any]:
    """All seeds of one kind as one trace with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for row, sweeps, changes in held:
        shown = [float(value) if np.isfinite(value) and value > 0 else None for value in changes]
        x += [*sweeps.tolist(), None]
        y += [*shown, None]
        words += [
            f"<b>{_KINDS[kind][0]}</b>, seed {row['seed']}<br>sweep {sweep}: {number(value)}"
            for sweep, value in zip(sweeps.tolist(), shown, strict=True)
        ]
        words.append("")
    return {"x": x, "y": y, "hovertext": words, "visible": bool(held)}


def _fate(kind: bool, rows: list[Row]) -> str:
    converged, diverged = (sum(row[of] for row in rows) for of in ("converged", "diverged"))
    name = _KINDS[kind][0]
    return f"{name[0].upper()}{name[1:]} {converged} of {count(len(rows), 'seed')} converged, {diverged} diverged"
