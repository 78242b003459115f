"""Loss on unseen tasks over the number of tasks and the prompt length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lmscope.report.figures import STATE, Figure, Variant
from lmscope.report.icl_axes import boundary, cell_edges, log_axis, log_ticks, tick_words
from lmscope.report.icl_rows import (
    Band,
    Choice,
    at_settings,
    band,
    band_words,
    choices_of,
    chosen,
    fixed_note,
    nothing_there,
    states_of,
    view_choice,
)
from lmscope.report.pair_heatmap import HEATMAP
from lmscope.report.phase_measures import PHASE_MEASURES
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 79

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "phase_map") }}
<div class="figure" id="phase_map" role="img"
aria-label="Loss over the number of tasks and the prompt length"></div>
<p class="note" data-html="phase_map"></p>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("phase_map")
    if not rows:
        return None
    names = {key: measure.name for key, measure in PHASE_MEASURES.items()}
    choices = choices_of(rows, ("regularization", "dimension"), view_choice("measure", "Colours show", names))
    states = states_of(choices)
    figure = Figure(
        [{**HEATMAP, "xgap": 0, "ygap": 0}],
        {"height": 480, "margin": {"l": 10, "r": 10, "t": 40, "b": 44}},
        states,
        lambda key: _variant(rows, choices, key, states[key]),
        first=next(iter(states)),
        columns=["measure", "tasks", "prompt length", "mean", "low", "high", "seeds"],
    )
    return Section(
        key="phase_map",
        title="Phase map: loss over tasks and prompt length",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="The exact ground state of every number of tasks and prompt length. Left of the dotted line "
        "there are fewer tasks than weights, and of all ground states the one of least norm is taken; "
        "right of it there is one. A regularization makes it unique everywhere. Experiment phase-map.",
        surprise="No ridge of high loss at the dotted line without regularization, or one that a "
        "regularization leaves. A loss that grows with the prompt length, where there are tasks enough.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], key: str, label: str) -> Variant:
    settings = chosen(choices, key)
    column = settings["measure"]
    measure = PHASE_MEASURES[column]
    some = at_settings(rows, settings)
    cells: dict[tuple[int, int], list[Row]] = {}
    for row in some:
        if row[column] is not None and (row[column] > 0 or not measure.logarithmic):
            cells.setdefault((row["prompt_length"], row["tasks"]), []).append(row)
    if not cells:
        return nothing_there(label, some, 1)
    lengths, tasks = sorted({length for length, _ in cells}), sorted({at for _, at in cells})
    bands = {
        at: band([row[column] for row in held], logarithmic=measure.logarithmic) for at, held in cells.items()
    }
    drawn = {at: math.log10(one.mean) if measure.logarithmic else one.mean for at, one in bands.items()}
    x, y = cell_edges(tasks), cell_edges(lengths)
    line, name = boundary(settings["dimension"])
    means = "geometric mean" if measure.logarithmic else "mean"
    several = any(one.seeds > 1 for one in bands.values())
    note = f"{measure.note}{f'; {means} over seeds' if several else ''}"
    ordered = sorted(bands)
    return Variant(
        label,
        [
            {
                "x": x,
                "y": y,
                "z": [[drawn.get((length, at)) for at in tasks] for length in lengths],
                "hovertext": [[_hover(bands, cells, length, at) for at in tasks] for length in lengths],
                "colorbar": _colour_ticks(list(bands.values()), logarithmic=measure.logarithmic),
            }
        ],
        {
            "xaxis": {**log_axis(x, "tasks P", edges=True), "showgrid": False},
            "yaxis": {**log_axis(y, "prompt length N", edges=True), "showgrid": False},
            "shapes": [line],
            "annotations": [name],
        },
        html=as_html(" ".join(filter(None, [f"{note}.", fixed_note(choices)]))),
        note=note,
        parts=[
            [
                STATE,
                [tasks_ for _, tasks_ in ordered],
                [length for length, _ in ordered],
                *([getattr(bands[at], of) for at in ordered] for of in ("mean", "low", "high", "seeds")),
            ]
        ],
    )


def _colour_ticks(bands: list[Band], *, logarithmic: bool) -> dict[str, Any]:
    if not logarithmic:
        return {"tickmode": "auto"}
    low, high = min(one.mean for one in bands), max(one.mean for one in bands)
    ticks = log_ticks(low, high)
    return {
        "tickmode": "array",
        "tickvals": [math.log10(tick) for tick in ticks],
        "ticktext": [tick_words(tick) for tick in ticks],
    }


def _hover(
    bands: dict[tuple[int, int], Band], cells: dict[tuple[int, int], list[Row]], length: int, tasks: int
) -> str:
    at = (length, tasks)
    head = f"P = {number(tasks)}, N = {number(length)}"
    if at not in bands:
        return f"{head}: no number"
    best = cells[at][0]["best_loss"]
    return f"{head}: {band_words(bands[at])}<br>infinitely many tasks would give a loss of {number(best)}"
