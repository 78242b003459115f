"""Trained models of several architectures on the same tasks, beside the exact ground state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import log10
from typing import Any

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, Figure, Variant
from lmscope.report.icl_charts import cell_words, layout, logarithmic, size_axis, value_axis
from lmscope.report.icl_names import MODELS
from lmscope.report.icl_rows import (
    LINE_COLUMNS,
    LOG_BANDS,
    Band,
    Choice,
    Point,
    at_settings,
    band,
    band_of,
    band_words,
    choice_of,
    choices_of,
    chosen,
    fixed_words,
    line_data,
    line_part,
    line_traces,
    not_at_rest,
    nothing_there,
    points_of,
    reasons,
    states_of,
    view_choice,
)
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import as_html, listing, number, plain

ORDER = 89

_GROUND, _ALL = "ground_state", "all"
_NAMES = {name: words for name, words in MODELS.items() if name != _GROUND}
_LOOKS = {
    "merged": (BLUE, "circle"),
    "separate": (GREEN, "square"),
    "multi_head": (SKY, "diamond"),
    "full": (PURPLE, "triangle-up"),
    "softmax": (ORANGE, "triangle-down"),
    "transformer": (VERMILLION, "star"),
}
_EPOCHS = (
    "An epoch is a step on all tasks; of softmax attention and the transformer it is a pass in batches, and "
    "their loss depends on how many were made"
)
_VIEWS = {
    "test_losses": "loss on unseen tasks during training",
    "losses": "loss on the training tasks during training",
    "final": "loss on unseen tasks at the end, model by model",
}

_TABLE_NOTE = (
    "In the table losses are geometric means over seeds too, and ratios to the ground state's, on the same "
    "unseen tasks and seed by seed; contrast ratios are arithmetic ones"
)

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "architectures") }}
<div class="figure" id="architectures" role="img"
aria-label="Loss of trained models over epochs, or at the end"></div>
<div data-html="architectures"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
{% for text in warned %}<p class="warning">{{ text }}.</p>{% endfor %}
{% if why %}<p class="warning">{{ why }}.</p>{% endif %}
<div class="scroll"><table class="sortable"><thead><tr><th><button>Model</button>
{% if several %}<th class="n"><button>Tasks P</button>{% endif %}

<th class="n"><button>Numbers trained</button><th class="n"><button>Epochs</button>
{% if unrested %}<th class="n"><button>Came to rest</button>{% endif %}

<th class="n"><button>Loss on unseen tasks</button><th class="n"><button>Times ground state's</button>
<th class="n"><button>Loss on the training tasks</button>
<th class="n"><button>Contrast ratio</button></tr></thead>
<tbody>
{% for one in rows %}
<tr><td>{{ one.name }}{% if several %}
<td class="n" data-sort="{{ one.tasks }}">{{ one.tasks | number }}{% endif %}

<td class="n" data-sort="{{ one.parameters or 0 }}">{{ one.parameters | number }}
<td class="n" data-sort="{{ one.epochs or 0 }}">{{ one.epochs | number }}
{% if unrested %}<td class="n">{{ one.rest }}{% endif %}

{% for found, words in one.bands %}
<td class="n" data-sort="{{ found.mean if found }}">{{ words }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("architectures")
    if not rows:
        return None
    held = {row["model"] for row in rows}
    models = {name: words for name, words in _NAMES.items() if name in held}
    models |= {name: plain(name) for name in sorted(held - _NAMES.keys() - {_GROUND})}
    choices = choices_of(
        rows, ("dimension", "prompt_length"), view_choice("view", "Chart shows", _VIEWS), _tasks(rows)
    )
    states = {key: name[0].upper() + name[1:] for key, name in states_of(choices).items()}

    def variant(key: str) -> Variant:
        settings = chosen(choices, key)
        if settings["tasks"] == _ALL:
            del settings["tasks"]
            view = _over_tasks
        else:
            view = _final if settings["view"] == "final" else _over_epochs
        some = at_settings(rows, settings)
        return view(some, models, settings["view"], states[key], fixed_words(choices))

    looks = {name: _LOOKS.get(name, (GREY, "x")) for name in models}
    figure = Figure(
        [
            *(
                trace
                for name, words in models.items()
                for trace in line_traces(as_html(words), looks[name][0], symbol=looks[name][1])
            ),
            *line_traces("ground state of the same tasks", GREY, dash="dash", symbol="line-ew"),
            *(_dot(words, *looks[name]) for name, words in models.items()),
        ],
        layout({"automargin": True, "fixedrange": True, "showgrid": False, "zeroline": False}),
        states,
        variant,
        first=next(iter(states)),
        columns=["line", "epoch, or tasks", *LINE_COLUMNS[2:]],
    )
    return Section(
        key="architectures",
        title="Architectures",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="Models trained by Adam on the same tasks; the grey line is the exact ground state of these "
        "tasks. On these tasks linear attention with merged weights, with separate W_Q and W_K or with "
        "several heads can reach and not pass it; all four matrices, whose values have a free row, and the "
        "other models can pass it. On unseen tasks all can. Experiment architectures.",
        surprise="One of merged, separate and multi-head linear attention that ends far from the other two: "
        "they can represent the same function, so that training has not ended or the learning rate does not "
        "fit. One of these below the ground state on the training tasks. Softmax attention and a transformer "
        "that end higher have often been given fewer epochs (see the table); this is no proof that they "
        "cannot do better.",
        figure=figure,
    )


def _tasks(rows: Sequence[Row]) -> Choice:
    """Each number of tasks, and all of them along the x axis."""
    one = choice_of(rows, "tasks")
    if len(one.options) < 2:
        return one
    options = {**one.options, _ALL: "all, along the axis"}
    return replace(one, options=options, values={**one.values, _ALL: _ALL})


def _dot(name: str, colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": as_html(name),
        "showlegend": False,
        "marker": {"color": colour, "symbol": symbol, "size": 10},
        "error_x": {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 5},
        "cliponaxis": False,
        "hoverinfo": "text",
    }


def _curves(rows: Sequence[Row], column: str) -> list[Row]:
    """One row per seed and epoch."""
    return [
        {"step": float(step), "value": float(value)}
        for row in rows
        for step, value in zip(row["steps"], row[column], strict=True)
    ]


def _ground(rows: Sequence[Row]) -> Band | None:
    """Over seeds: the rows of all models of a seed have the same one."""
    return band_of(_ground_rows(rows), "loss")


def _over_epochs(rows: list[Row], models: dict[str, str], view: str, label: str, fixed: str) -> Variant:
    of_model = {name: _curves(at_settings(rows, {"model": name}), view) for name in models}
    ground = _ground(rows) if view == "test_losses" else None
    ends = sorted({row["step"] for some in of_model.values() for row in some})
    beside = [Point(ends[at], ground, []) for at in (0, -1)] if ground and ends else []
    lines = {name: points_of(some, "step", "value", logarithmic=True) for name, some in of_model.items()}
    log = logarithmic([*lines.values(), beside])
    powers = range(int(log10(max([1.0, *ends]))) + 1)
    if not any(lines.values()):
        return nothing_there(label, rows, 3 * (len(models) + 1) + len(models))
    data = [
        trace
        for name, points in lines.items()
        for trace in line_data(points, _hover_of(models[name], "epoch"))
    ]
    data += line_data(beside, lambda point: f"<b>ground state</b><br>{band_words(point.band)}")
    # Few epochs of one model stand beside many of another.
    for trace in data:
        trace["x"] = [step + 1 for step in trace["x"]]
    # Of a training of hundreds of epochs markers would hide the line.
    for trace in data[2::3]:
        trace["mode"] = "lines"
    data += [{"visible": False}] * len(models)
    return Variant(
        label,
        data,
        {
            "xaxis": {
                "type": "log",
                "title": {"text": "epoch (logarithm of epoch + 1)"},
                "tickmode": "array",
                "tickvals": [1, *(10**power + 1 for power in powers)],
                "ticktext": ["0", *(number(10**power) for power in powers)],
                "tickangle": 0,
            },
            "yaxis": value_axis("mean squared error", [*lines.values(), beside], log=log),
        },
        html=_below(rows, models, fixed, LOG_BANDS),
        note=", ".join(filter(None, [fixed, "bands over seeds"])),
        parts=[
            *(line_part(models[name], points) for name, points in lines.items() if points),
            *([line_part("ground state", beside)] if beside else []),
        ],
    )


def _hover_of(name: str, of: str) -> Callable[[Point], str]:
    return lambda point: f"<b>{as_html(name)}</b>, {of} {number(point.x)}<br>{band_words(point.band)}"


def _over_tasks(rows: list[Row], models: dict[str, str], view: str, label: str, fixed: str) -> Variant:
    """What the training ended with."""
    column = "training_loss" if view == "losses" else "loss"
    of_model = {name: at_settings(rows, {"model": name}) for name in [*models, _GROUND]}
    if column == "loss":
        of_model[_GROUND] = _ground_rows(rows)
    lines = {name: points_of(some, "tasks", column) for name, some in of_model.items()}
    log = logarithmic(lines.values())
    if not any(lines.values()):
        return nothing_there(label, rows, 3 * (len(models) + 1) + len(models))
    names = {**models, _GROUND: "ground state"}
    data = [
        trace
        for name, points in lines.items()
        for trace in line_data(points, _hover_of(names[name], "tasks"))
    ]
    data += [{"visible": False}] * len(models)
    on = "the training tasks" if view == "losses" else "unseen tasks"
    return Variant(
        label,
        data,
        {
            "xaxis": size_axis((row["tasks"] for row in rows), "tasks P"),
            "yaxis": value_axis(f"mean squared error on {on}, at the end", lines.values(), log=log),
        },
        html=_below(rows, models, fixed, LOG_BANDS),
        note=", ".join(filter(None, [fixed, "at the end of the training, bands over seeds"])),
        parts=[line_part(names[name], points) for name, points in lines.items() if points],
    )


def _ground_rows(rows: Sequence[Row]) -> list[Row]:
    """One a seed and number of tasks: the rows of all models there have the same ground state."""
    found = {(row["seed"], row["tasks"]): row for row in rows}
    return [{**row, "loss": row["ground_loss"]} for row in found.values()]


def _final(rows: list[Row], models: dict[str, str], view: str, label: str, fixed: str) -> Variant:
    found = {name: band_of(at_settings(rows, {"model": name}), "loss") for name in models}
    if not any(found.values()):
        return nothing_there(label, rows, 3 * (len(models) + 1) + len(models))
    ground = _ground(rows)
    data: list[dict[str, Any]] = [{"visible": False}] * (3 * (len(models) + 1))
    for name, one in found.items():
        if one is None:
            data.append({"visible": False})
            continue
        ends = one.low is not None and one.high is not None
        data.append(
            {
                "x": [one.mean],
                "y": [as_html(models[name])],
                "hovertext": [f"<b>{as_html(models[name])}</b><br>{band_words(one)}"],
                "error_x": {
                    "visible": ends,
                    "array": [(one.high or one.mean) - one.mean],
                    "arrayminus": [one.mean - (one.low or one.mean)] if ends else [0.0],
                },
            }
        )
    shapes, named = _across(ground)
    height = 130 + 44 * sum(one is not None for one in found.values())
    return Variant(
        label,
        data,
        {
            "height": height,
            "xaxis": {"title": {"text": "mean squared error on unseen tasks"}, "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed"},
            "shapes": shapes,
            "annotations": named,
        },
        html=_below(rows, models, fixed, LOG_BANDS.replace("Lines", "Dots").replace("bands", "brackets")),
        note=", ".join(filter(None, [fixed, "brackets over seeds"])),
        parts=[
            [words, None, one.mean, one.low, one.high, one.seeds]
            for words, one in [
                *((models[name], one) for name, one in found.items()),
                ("ground state", ground),
            ]
            if one is not None
        ],
    )


def _across(ground: Band | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if ground is None:
        return [], []
    upright = {"type": "line", "x0": ground.mean, "x1": ground.mean, "yref": "paper", "y0": 0, "y1": 1}
    text = {"text": f"ground state {number(ground.mean)}", "x": ground.mean, "y": 1, "yref": "paper"}
    return (
        [{**upright, "line": {"color": GREY, "width": 2, "dash": "dash"}}],
        [{**text, "yanchor": "bottom", "showarrow": False, "font": {"color": GREY}}],
    )


def _below(rows: Sequence[Row], models: dict[str, str], fixed: str, bands: str) -> str:
    table = []
    places = sorted({row["tasks"] for row in rows})
    for name, at in product([*models, _GROUND], places):
        some = at_settings(rows, {"model": name, "tasks": at})
        found = {
            "loss": band_of(some, "loss"),
            "ratio": band(_ratios(some), logarithmic=True) if _ratios(some) and name != _GROUND else None,
            "training_loss": band_of(some, "training_loss"),
            "contrast": band_of(some, "contrast"),
        }
        if some:
            table.append(
                {
                    "name": models.get(name, MODELS[_GROUND]),
                    "tasks": at,
                    "parameters": some[0]["parameters"] if name != _GROUND else None,
                    "epochs": some[0]["epochs"] if name != _GROUND else None,
                    "rest": _rest(some),
                    "bands": [(one, cell_words(one)) for one in found.values()],
                }
            )
    note = ". ".join(filter(None, [bands, _TABLE_NOTE, _EPOCHS, fixed]))
    warned = [text for text in (not_at_rest("Training", rows), _many_ground_states(rows)) if text]
    return render(
        _BELOW,
        note=note,
        warned=warned,
        unrested=any(row["converged"] is False for row in rows),
        why=reasons(rows),
        rows=table,
        several=len(places) > 1,
    )


def _ratios(rows: Sequence[Row]) -> list[float]:
    return [row["loss"] / row["ground_loss"] for row in rows if row["loss"] is not None]


def _rest(rows: Sequence[Row]) -> str:
    known = [row["converged"] for row in rows if row["converged"] is not None]
    return f"{sum(known)} of {len(known)}" if known else "\u2013"


def _many_ground_states(rows: Sequence[Row]) -> str:
    """Where no model can be called better or worse than \"the\" ground state."""
    places = sorted({row["tasks"] for row in rows if not row["ground_unique"]})
    if not places:
        return ""
    told = listing([number(at) for at in places])
    return (
        f"At P = {told} the ground state is not unique without weight decay; the one of least norm is shown, "
        "others that fit the tasks as well have other losses on unseen ones"
    )
