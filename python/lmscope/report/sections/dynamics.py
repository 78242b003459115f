"""When the output embedding comes to hold frequencies, beside the loss and the way of the weights."""

from __future__ import annotations

from typing import Any

from lmscope.report.dynamics_rows import (
    COMPARED,
    QUANTITIES,
    SHARE,
    at_share,
    curve,
    dynamics_sentences,
    star_level,
    step_words,
    way,
)
from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, Figure, Variant
from lmscope.report.looks import OTHER_LOOKS
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.unembedding_rows import Choices, series
from lmscope.report.words import as_html, number, percent

ORDER = 65

_PROGRESS = "progress"
_COLOURS = (BLUE, GREEN, VERMILLION, PURPLE, GREY)
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_MOST_TICKS = 9
_LOWEST, _HIGHEST = -0.35, 1.6
"""Shares of the way that the chart of all quantities has room for."""

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice %}
<div class="controls">{{ part_choice("Lines show", measures, "dynamics") }}
<button data-save="dynamics">Data (CSV)</button></div>
<div class="figure" id="dynamics" role="img" aria-label="Encoding and loss over training steps"></div>
<div data-html="dynamics"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
{% for text in sentences %}<p>{{ text }}</p>{% endfor %}
"""


def section(records: Records) -> Section | None:
    trainings = series(records.rows("dynamics"))
    if not trainings:
        return None
    held = {
        column: quantity
        for column, quantity in QUANTITIES.items()
        if any(row[column] is not None for rows in trainings.values() for row in rows)
    }
    compared = [column for column in COMPARED if column in held]
    states: Choices = {
        _PROGRESS: "Share of the way from first to last, all together",
        **{column: quantity.label for column, quantity in held.items()},
    }
    sentences = dynamics_sentences(trainings)

    def variant(key: str) -> Variant:
        return (
            _together(trainings, compared, states[key], sentences)
            if key == _PROGRESS
            else _one(trainings, key, len(compared), states[key], sentences)
        )

    figure = Figure(
        [
            *(
                _trace(
                    QUANTITIES[column].short,
                    _COLOURS[place],
                    _DASHES[at % len(_DASHES)],
                    "circle",
                    legend=at == 0,
                )
                for at in range(len(trainings))
                for place, column in enumerate(compared)
            ),
            *(
                _trace(
                    as_html(name),
                    OTHER_LOOKS[at % len(OTHER_LOOKS)][0],
                    "solid",
                    OTHER_LOOKS[at % len(OTHER_LOOKS)][1],
                    legend=True,
                )
                for at, name in enumerate(trainings)
            ),
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{percent(SHARE)} (of the last R²; else of the way)",
                "marker": {
                    "symbol": "star",
                    "size": 13,
                    "color": ORANGE,
                    "line": {"width": 1, "color": GREY},
                },
                "hoverinfo": "text",
            },
        ],
        _layout(sorted({row["step"] for rows in trainings.values() for row in rows})),
        states,
        variant,
        first=_PROGRESS,
        columns=["what", "training", "step", "value"],
    )
    return Section(
        key="dynamics",
        title="Dynamics: frequency in the embedding over a training",
        template=_TEMPLATE,
        values={"measures": states},
        shows="One point per checkpoint, steps on a logarithmic axis (of step + 1). Taken together, every "
        "quantity goes from 0 at the first checkpoint to 1 at the last, one line style a training; stars "
        "stand where an R² has come to 90 % of its last value, and anything else has made 90 % of its way, "
        "interpolated between the two checkpoints around it. By itself, each quantity has one line per "
        "training.",
        surprise="A first checkpoint that is already trained: its way is not seen. R² of frequency that "
        "falls again after it rose. That one thing comes before another does not say that it is needed for "
        "it; the distance to the last weights shrinks to 0 by its definition, however the training went.",
        figure=figure,
    )


def _trace(name: str, colour: str, dash: str, symbol: str, *, legend: bool) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": f"{name} {colour}",
        "showlegend": legend,
        "line": {"color": colour, "width": 2, "dash": dash},
        "marker": {"symbol": symbol, "size": 7},
        "cliponaxis": False,
        "hoverinfo": "text",
    }


def _layout(steps: list[int]) -> dict[str, Any]:
    every = -(-len(steps) // _MOST_TICKS)
    ticks = steps[::-1][::every][::-1]
    return {
        "height": 460,
        "margin": {"l": 10, "r": 20, "t": 54, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "type": "log",
            "title": {"text": "training step (logarithm of step + 1)"},
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "tickmode": "array",
            "tickvals": [step + 1 for step in ticks],
            "ticktext": [number(step) for step in ticks],
            "tickangle": 0,
        },
        "yaxis": {"automargin": True, "fixedrange": True, "zeroline": False},
    }


def _together(
    trainings: dict[str, list[Row]], compared: list[str], label: str, sentences: list[str]
) -> Variant:
    data: list[dict[str, Any]] = []
    stars: list[tuple[float, float, str]] = []
    parts: list[list[Any]] = []
    for name, rows in trainings.items():
        for column in compared:
            points = curve(rows, column)
            shares = way(points)
            steps = [step for step, _ in points] if shares else []
            short = QUANTITIES[column].short
            data.append(
                {
                    "x": [step + 1 for step in steps],
                    "y": shares,
                    "hovertext": [
                        f"<b>{as_html(name)}</b>, {short}, step {number(step)}<br>{number(value, 4)}: "
                        f"{share:.0%} of its way"
                        for (step, value), share in zip(points, shares, strict=False)
                    ],
                    "visible": bool(shares),
                }
            )
            parts.append([f"{short}: share of its way", name, steps, shares])
            at = at_share(points, column)
            if at is not None and shares:
                made = (star_level(at, points) - points[0][1]) / (points[-1][1] - points[0][1])
                stars.append((at.step, made, f"<b>{as_html(name)}</b>, {short}: 90 % {step_words(at)}"))
    outside = any(not _LOWEST <= share <= _HIGHEST for one in data for share in one["y"])
    data += [{"visible": False}] * len(trainings)
    note = "0 is the first checkpoint, 1 the last; distances run from the first weights to the last"
    if outside:
        note += "; a line that leaves the chart went far beyond its last value: look at it by itself"
    line = {"color": GREY, "width": 1, "dash": "dot"}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": SHARE, "y1": SHARE, "line": line}
    return Variant(
        label,
        [*data, _stars(stars)],
        {
            "yaxis": {
                "title": {"text": "share of the way"},
                "tickformat": ".0%",
                "autorange": not outside,
                "range": [_LOWEST, _HIGHEST],
            },
            "shapes": [across],
        },
        html=render(_BELOW, note=note, sentences=sentences),
        note=note,
        parts=[*parts, *_of_stars(stars, "90 %")],
    )


def _one(
    trainings: dict[str, list[Row]], column: str, compared: int, label: str, sentences: list[str]
) -> Variant:
    data: list[dict[str, Any]] = [{"visible": False}] * (compared * len(trainings))
    stars: list[tuple[float, float, str]] = []
    parts: list[list[Any]] = []
    quantity = QUANTITIES[column]
    what = "90 % of the last value" if quantity.of == "last" else "90 % of the way from the first value"
    for name, rows in trainings.items():
        points = curve(rows, column)
        data.append(
            {
                "x": [step + 1 for step, _ in points],
                "y": [value for _, value in points],
                "hovertext": [
                    f"<b>{as_html(name)}</b>, step {number(step)}: {number(value, 4)}"
                    for step, value in points
                ],
                "visible": bool(points),
            }
        )
        parts.append([quantity.label, name, [step for step, _ in points], [value for _, value in points]])
        at = at_share(points, column)
        if at is not None:
            words = f"<b>{as_html(name)}</b>: {what} {step_words(at)}"
            stars.append((at.step, star_level(at, points), words))
    note = f"One line per training; stars stand at {what}"
    return Variant(
        label,
        [*data, _stars(stars)],
        {"yaxis": {"title": {"text": quantity.axis}, "tickformat": "", "autorange": True}, "shapes": []},
        html=render(_BELOW, note=note, sentences=sentences),
        note=note,
        parts=[*parts, *_of_stars(stars, what)],
    )


def _stars(stars: list[tuple[float, float, str]]) -> dict[str, Any]:
    return {
        "x": [at + 1 for at, _, _ in stars],
        "y": [value for _, value, _ in stars],
        "hovertext": [text for _, _, text in stars],
        "visible": bool(stars),
    }


def _of_stars(stars: list[tuple[float, float, str]], what: str) -> list[list[Any]]:
    return [[what, "", [at for at, _, _ in stars], [value for _, value, _ in stars]]] if stars else []
