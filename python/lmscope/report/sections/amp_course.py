"""How the changes of means and variances shrink, or grow, from sweep to sweep of message passing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmscope.report.figures import BLUE, VERMILLION, Figure, Variant, of_trace, packed
from lmscope.report.icl_axes import log_axis
from lmscope.report.icl_rows import Choice, at_settings, chosen, fixed_note, key_of, nothing_there, states_of
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.sections.amp import course_choices
from lmscope.report.words import as_html, count

ORDER = 83
_MOST_POINTS = 60
"""Of one course on the page: a longer one is thinned, its end kept."""
_MOST_SEEDS = 5
"""Of one kind on the page."""

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
    seeds = min(_MOST_SEEDS, len({row["seed"] for row in rows}))
    figure = Figure(
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": name,
                "showlegend": at == 0,
                "marker": {"size": 3},
                "line": {"color": colour, "width": 1.5, "dash": dash},
                "hovertemplate": f"<b>{name}</b>, seed %{{meta}}<br>sweep %{{x}}: %{{y:.3g}}<extra></extra>",
            }
            for name, colour, dash in _KINDS.values()
            for at in range(seeds)
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
        lambda key: _variant(rows, choices, seeds, key, states[key]),
        first=key_of(choices, next((row for row in rows if row["converged"]), rows[0])),
        columns=["message passing", "seed", "sweep", "change"],
    )
    return Section(
        key="amp_course",
        title="Course: changes from sweep to sweep",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="Mean squared change of means and variances in every sweep of message passing, one line per "
        "seed. A straight line downwards is convergence, and its slope the rate. Experiment amp.",
        surprise="A line that levels off above the tolerance, or turns upwards: the updates chase each "
        "other, and more damping or regularization is needed.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], seeds: int, key: str, label: str) -> Variant:
    some = at_settings(rows, chosen(choices, key))
    held = {kind: [row for row in some if row["onsager"] is kind] for kind in _KINDS}
    courses = {kind: [(row, *_thinned(row["changes"])) for row in of[:seeds]] for kind, of in held.items()}
    sizes = [float(one) for of in courses.values() for *_, changes in of for one in changes]
    if not any(one > 0 for one in sizes):
        return nothing_there(label, some, len(_KINDS) * seeds)
    note = "Mean squared change of means and variances, one line per seed"
    if any(len(of) > seeds for of in held.values()):
        note += f"; of the seeds the first {seeds}"
    if any(len(row["changes"]) > _MOST_POINTS for row in some):
        note += f"; of long courses {_MOST_POINTS} sweeps, the last among them"
    fates = "; ".join(_fate(kind, of) for kind, of in held.items() if of)
    fates = fates[0].upper() + fates[1:]
    below = " ".join(filter(None, [f"{note}. {fates}.", fixed_note(choices)]))
    places = [(kind, at) for kind in _KINDS for at in range(seeds)]
    return Variant(
        label,
        [_line(courses[kind][at] if at < len(courses[kind]) else None) for kind, at in places],
        {"yaxis": {**log_axis(sizes, "mean squared change"), "zeroline": False}},
        html=as_html(below),
        note=note,
        parts=[
            [_KINDS[kind][0], courses[kind][at][0]["seed"], of_trace(trace, "x"), of_trace(trace, "y")]
            for trace, (kind, at) in enumerate(places)
            if at < len(courses[kind])
        ],
    )


def _thinned(changes: Any) -> tuple[Any, Any]:
    """Numbers of sweeps, from 1, and their changes, of those that a logarithmic axis has a place for."""
    values = np.asarray(changes, dtype=np.float64)
    every = np.arange(len(values))
    if len(every) > _MOST_POINTS:
        every = np.unique(np.linspace(0, len(values) - 1, _MOST_POINTS).round().astype(int))
    every = every[np.isfinite(values[every]) & (values[every] > 0)]
    return every + 1, values[every]


def _line(course: tuple[Row, Any, Any] | None) -> dict[str, Any]:
    if course is None:
        return {"visible": False}
    row, sweeps, changes = course
    return {"x": packed(sweeps, "u4"), "y": packed(changes), "meta": row["seed"], "visible": len(sweeps) > 0}


def _fate(kind: bool, rows: list[Row]) -> str:
    converged, diverged = (sum(row[of] for row in rows) for of in ("converged", "diverged"))
    return f"{_KINDS[kind][0]} {converged} of {count(len(rows), 'seed')} converged, {diverged} diverged"
