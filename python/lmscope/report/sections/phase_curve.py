"""Loss over the number of tasks at one prompt length: the peak of interpolation, and what removes it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Figure, Variant
from lmscope.report.icl_axes import boundary, log_axis, spins
from lmscope.report.icl_charts import layout
from lmscope.report.icl_rows import (
    BANDS,
    LINE_COLUMNS,
    LOG_BANDS,
    Choice,
    Point,
    at_settings,
    band_words,
    choices_of,
    chosen,
    fixed_note,
    line_data,
    line_part,
    line_traces,
    nothing_there,
    opening,
    points_of,
    states_of,
    view_choice,
)
from lmscope.report.phase_measures import PHASE_MEASURES, PhaseMeasure
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 80

_LOOKS = (
    (VERMILLION, "circle"),
    (BLUE, "square"),
    (GREEN, "diamond"),
    (PURPLE, "cross"),
    (ORANGE, "triangle-up"),
    (SKY, "triangle-down"),
)
_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "phase_curve") }}
<div class="figure" id="phase_curve" role="img" aria-label="Loss against the number of tasks"></div>
<div data-html="phase_curve"></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("phase_map")
    if not rows:
        return None
    names = {key: measure.name for key, measure in PHASE_MEASURES.items()}
    choices = choices_of(rows, ("prompt_length", "dimension"), view_choice("measure", "Lines show", names))
    states = states_of(choices)
    levels = sorted({row["regularization"] for row in rows})
    figure = Figure(
        [
            *(
                trace
                for at, level in enumerate(levels)
                for trace in line_traces(
                    _name(level), _LOOKS[at % len(_LOOKS)][0], symbol=_LOOKS[at % len(_LOOKS)][1]
                )
            ),
            {
                "type": "scatter",
                "mode": "lines",
                "name": "infinitely many tasks",
                "line": {"color": GREY, "width": 2, "dash": "dash"},
                "hoverinfo": "text",
            },
        ],
        layout({"showgrid": False}, legend=1.08),
        states,
        lambda key: _variant(rows, choices, levels, key, states[key]),
        first=opening(choices, "prompt_length"),
        columns=["line", "tasks", *LINE_COLUMNS[2:]],
    )
    return Section(
        key="phase_curve",
        title="Interpolation peak: loss over tasks",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="One row of the map, one line per regularization λ₀. With as many tasks as weights, at the "
        "dotted line, the ground state just fits every task, its weights become huge and unseen tasks "
        "suffer; more tasks, or a regularization, cure it. The dashed line is the ground state of "
        "infinitely many tasks, the best merged linear attention. Experiment phase-map.",
        surprise="A peak beside the dotted line, or none. A line below the dashed one by more than its band.",
        figure=figure,
    )


def _name(level: float) -> str:
    return f"λ₀ = {number(level)}"


def _variant(
    rows: list[Row], choices: Sequence[Choice], levels: list[float], key: str, label: str
) -> Variant:
    settings = chosen(choices, key)
    column = settings["measure"]
    measure = PHASE_MEASURES[column]
    some = at_settings(rows, settings)
    lines = {
        level: points_of(
            at_settings(some, {"regularization": level}), "tasks", column, logarithmic=measure.logarithmic
        )
        for level in levels
    }
    points = [one for line in lines.values() for one in line]
    if not points:
        return nothing_there(label, some, 3 * len(levels) + 1)
    upright, name = boundary(settings["dimension"])
    ends = [end for one in points for end in (one.band.low, one.band.mean, one.band.high) if end is not None]
    best = some[0]["best_loss"]
    across = column == "loss"
    tasks = sorted({one.x for one in points})
    y_axis = (
        log_axis([*ends, *([best] if across else [])], measure.axis)
        if measure.logarithmic
        else {"type": "linear", "title": {"text": measure.axis}, "rangemode": "tozero", "tickmode": "auto"}
    )
    note = f"{measure.note}. {LOG_BANDS if measure.logarithmic else BANDS}"
    below = " ".join(filter(None, [f"{note}.", fixed_note(choices)]))
    said = (
        "".join(f"<p>{as_html(text)}</p>" for text in peaks(lines, settings["dimension"])) if across else ""
    )
    return Variant(
        label,
        [
            *(
                trace
                for level, line in lines.items()
                for trace in line_data(line, partial(_hover, level=level, measure=measure))
            ),
            {
                "x": [tasks[0], tasks[-1]],
                "y": [best, best],
                "hovertext": [f"infinitely many tasks: {number(best, 4)}"] * 2,
                "visible": across,
            },
        ],
        {
            "xaxis": log_axis(tasks, "tasks P"),
            "yaxis": y_axis,
            "shapes": [upright],
            "annotations": [name],
        },
        html=f'<p class="note">{as_html(below)}</p>{said}',
        note=note,
        parts=[
            *(line_part(_name(level), line) for level, line in lines.items() if line),
            *([["infinitely many tasks", None, best, None, None, None]] if across else []),
        ],
    )


def _hover(point: Point, *, level: float, measure: PhaseMeasure) -> str:
    training = [row["training_loss"] for row in point.rows if row["training_loss"] is not None]
    mean = f"<br>training loss {number(sum(training) / len(training))}" if training else ""
    more = "" if measure.axis == "training loss" else mean
    return f"<b>{_name(level)}</b>, P = {number(point.x)}: {band_words(point.band)}{more}"


def peaks(lines: dict[float, list[Point]], dimension: int) -> list[str]:
    """Where the loss is highest, and how high beside that at twice as many tasks as weights."""
    at, told = spins(dimension), []
    for level, line in lines.items():
        held = [one for one in line if one.x >= at / 2]
        if not held or held[-1].x < 1.5 * at:
            continue
        top = max(held, key=lambda one: one.band.mean)
        if top is held[0]:
            told.append(
                f"{_name(level)}: no peak; from P = {number(top.x)} ({number(top.band.mean)}) on the loss is "
                f"nowhere higher; D(D+1) is {number(at)}."
            )
            continue
        twice = min(held, key=lambda one: abs(one.x - 2 * at))
        told.append(
            f"{_name(level)}: of the numbers of tasks from D(D+1)/2 on, the loss is highest at P = "
            f"{number(top.x)} ({number(top.band.mean)}), {number(top.band.mean / twice.band.mean)} times "
            f"that at P = {number(twice.x)} ({number(twice.band.mean)}); D(D+1) is {number(at)}."
        )
    return told
