"""What a change of a token's row makes of its probability, against what was asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lmscope.report.figures import BLUE, GREY, SKY, VERMILLION, Figure, Variant, of_trace, without_chart
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.steering_rows import (
    CALIBRATION,
    CONTROLS,
    TEXTS,
    Quartiles,
    alone,
    by_factor,
    chosen,
    control,
    errors,
    factor_words,
    quartiles,
    unreached,
)
from lmscope.report.templates import render
from lmscope.report.unembedding_rows import Choices, checkpoints, names, of_label, token_name
from lmscope.report.words import as_html, count, number, plain

ORDER = 63

_VIEWS: Choices = {"realised": "realised against asked factor", "js": "divergence against factor"}
_HOVER = {
    "realised": "asked × %{customdata[1]}, realised × %{y:.3g} (95 % %{customdata[2]} to %{customdata[3]})"
    "<br>mean probability %{customdata[4]} → %{customdata[5]}, %{customdata[6]} times in the text",
    "js": "asked × %{customdata[1]}: %{y:.3g} nats",
}
_JITTER, _BESIDE = 0.13, 0.27
"""Of the natural logarithm of the factor: tokens are spread around it, controls stand beside it."""
_MOST_REASONS = 3

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice, checkpoint_choice %}
<div class="controls">{{ part_choice("View", views, "steering") }}
{{ part_choice("Text", texts, "steering") }}
{{ part_choice("Steps", calibration, "steering") }}
{{ part_choice("Change", allocations, "steering") }}
{{ checkpoint_choice(of, "steering") }} <button data-save="steering">Data (CSV)</button></div>
<div class="figure" id="steering" role="img"
aria-label="Realised against asked factors of steered tokens"></div>
<div data-html="steering"></div>
"""

_BELOW = """
{% for text in notes %}<p class="note">{{ text }}</p>{% endfor %}
<div class="scroll"><table><thead><tr><th class="n">Asked<th class="n">Tokens<th class="n">Realised: median
<th class="n">Quartiles<th class="n">Median |ln(realised / asked)|
{% for name in controls %}<th class="n">{{ name | capitalize }}: the same{% endfor %}
<th class="n">Row left alone: the same
<th class="n">JS, median (nats)<th class="n">All other tokens, median factor</tr></thead><tbody>
{% for one in rows %}
<tr><td class="n">× {{ one.asked }}<td class="n">{{ one.tokens | number }}
<td class="n">{{ one.realised | number }}<td class="n">{{ one.quartiles }}
<td class="n">{{ one.error | number(2) }}
{% for value in one.controls %}<td class="n">{{ value | number(2) }}{% endfor %}
<td class="n">{{ one.alone | number(2) }}
<td class="n">{{ one.js | number(2) }}<td class="n">{{ one.others | number(4) }}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    shown = checkpoints(records, "steering")
    if not shown:
        return None
    of = names(shown)
    rows = {one.key: alone(one.rows(records, "steering")) for one in shown}
    every = [row for some in rows.values() for row in some]
    if not every:
        return None
    allocations = {name: plain(name) for name in dict.fromkeys(row["allocation"] for row in every)}
    texts = {key: name for key, name in TEXTS.items() if any(row["text"] == key for row in every)}
    calibration = {
        key: name
        for key, name in CALIBRATION.items()
        if any(row["calibrated"] == (key == "yes") for row in every)
    }
    states = {
        ":".join([view, text, steps, allocation, one.key]): of_label(
            f"{title[0].upper()}{title[1:]}: {texts[text]}, {calibration[steps]}, {allocations[allocation]}",
            shown,
            one,
        )
        for one in shown
        for allocation in allocations
        for steps in calibration
        for text in texts
        if chosen(rows[one.key], allocation, steps, text)
        for view, title in _VIEWS.items()
    }
    first = _first(list(states))

    def variant(key: str) -> Variant:
        view, text, steps, allocation, at = key.split(":")
        return _variant(rows[at], view, text, steps, allocation, states[key])

    figure = Figure(
        _traces(),
        _layout(sorted({row["factor"] for row in every})),
        states,
        variant,
        first=first,
        absent=without_chart("Not measured", "This was not asked for.", len(_traces())),
        columns=["what", "token", "asked", "value", "low", "high"],
    )
    return Section(
        key="steering",
        title="Steering: probabilities changed by chosen factors",
        template=_TEMPLATE,
        values={
            "views": _VIEWS,
            "texts": _in_order(texts, first.split(":")[1]),
            "calibration": calibration,
            "allocations": allocations,
            "of": of,
        },
        shows="Each dot is one token whose row alone was changed so that its mean probability grows by the "
        "factor below; the dashed line is what was asked. Squares with brackets are medians and quartiles "
        "over tokens. Beside them stand the controls: the same step with the wrong sign, and a step as long "
        "in a random direction. The fitting text is what the step was taken from; held-out text is the test.",
        surprise="Controls on the line: then the factor comes from the size of the step, not from its "
        "direction. Held-out medians that bend away from the line while fitted ones do not. Mean "
        "probabilities say nothing of single places: a factor of 20 on average can be 100 in one context and "
        "1 in another. The shape of the distribution over all other tokens never changes: they are "
        "multiplied by one number.",
        figure=figure,
    )


def _first(states: list[str]) -> str:
    """Held-out text is the question; the fitting text answers by construction where steps are calibrated."""
    return next((key for key in states if key.split(":")[:2] == ["realised", "held_out"]), states[0])


def _in_order(options: Choices, first: str) -> Choices:
    return {first: options[first], **options}


def _traces() -> list[dict[str, Any]]:
    def medians(name: str, colour: str, symbol: str, size: int) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"width": 0}},
            "error_y": {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 4},
            "hoverinfo": "text",
        }

    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "as asked",
            "line": {"color": GREY, "width": 1.5, "dash": "dash"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "one token",
            "marker": {"color": SKY, "size": 6, "opacity": 0.55},
        },
        medians("median and quartiles", BLUE, "square", 9),
        *(
            medians(name, colour, symbol, 7)
            for name, colour, symbol in zip(
                CONTROLS.values(), (VERMILLION, GREY), ("diamond", "x"), strict=True
            )
        ),
    ]


def _layout(factors: list[float]) -> dict[str, Any]:
    return {
        "height": 500,
        "margin": {"l": 10, "r": 20, "t": 54, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "type": "log",
            "title": {"text": "factor asked of the mean probability"},
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "tickmode": "array",
            "tickvals": factors,
            "ticktext": [factor_words(factor) for factor in factors],
            "tickangle": 0,
            "tickfont": {"size": 11},
            "range": [math.log10(factors[0]) - 0.2, math.log10(factors[-1]) + 0.2],
        },
        "yaxis": {"type": "log", "automargin": True, "fixedrange": True, "zeroline": False},
    }


def _variant(rows: list[Row], view: str, text: str, steps: str, allocation: str, label: str) -> Variant:
    some = chosen(rows, allocation, steps, text)
    controls = {name: control(rows, name, allocation, steps, text) for name in CONTROLS}
    factors = list(by_factor(some))
    data: list[dict[str, Any]] = [
        {"x": factors, "y": factors, "visible": view == "realised"},
        _points(some, view),
        _medians(some, view, 0.0),
        *(_medians(of, view, side * _BESIDE) for of, side in zip(controls.values(), (1, -1), strict=True)),
    ]
    notes = _notes(some, controls, steps)
    up = "realised factor" if view == "realised" else "Jensen–Shannon divergence (nats)"
    ticks = (
        {
            "tickmode": "array",
            "tickvals": _decades(factors),
            "ticktext": [factor_words(factor) for factor in _decades(factors)],
        }
        if view == "realised"
        else {"tickmode": "auto", "exponentformat": "e", "dtick": 1}
    )
    return Variant(
        label,
        data,
        {"yaxis": {"title": {"text": up}, **ticks}},
        html=render(_BELOW, notes=notes, rows=_table(some, controls), controls=_named(controls)),
        note=notes[0],
        parts=[
            _lines(some, view),
            _summary("median and quartiles", some, view),
            *(_summary(f"{CONTROLS[name]}: median and quartiles", of, view) for name, of in controls.items()),
        ],
    )


def _decades(factors: list[float]) -> list[float]:
    """The factors and what the wrong sign makes of them."""
    return sorted({float(f"{one:.6g}") for factor in [1.0, *factors] for one in (factor, 1.0 / factor)})


def _measured(rows: list[Row], view: str) -> list[Row]:
    return [row for row in rows if row[view] is not None and row[view] > 0]


def _points(rows: list[Row], view: str) -> dict[str, Any]:
    tokens = sorted({row["token"] for row in rows})
    place = {token: 2 * (at + 0.5) / len(tokens) - 1 for at, token in enumerate(tokens)}
    known = _measured(rows, view)
    return {
        "x": [_short(row["factor"] * math.exp(_JITTER * place[row["token"]])) for row in known],
        "y": [_short(row[view]) for row in known],
        "customdata": [_facts(row, view) for row in known],
        "hovertemplate": f"<b>%{{customdata[0]}}</b><br>{_HOVER[view]}<extra></extra>",
        "visible": bool(known),
    }


def _name(row: Row) -> str:
    return as_html(token_name(row["token"], row["token_text"]))


def _facts(row: Row, view: str) -> list[str]:
    """What `_HOVER` of the view asks for, in its order."""
    facts = [_name(row), factor_words(row["factor"])]
    if view == "realised":
        ends = [number(row[end]) for end in ("realised_low", "realised_high")]
        facts += [*ends, number(row["before"], 2), number(row["after"], 2), number(row["count"])]
    return facts


def _by_factor(rows: list[Row], view: str) -> dict[float, Quartiles]:
    return {
        factor: of
        for factor, some in by_factor(rows).items()
        if (of := quartiles([row[view] for row in _measured(some, view)])) is not None
    }


def _medians(rows: list[Row], view: str, beside: float) -> dict[str, Any]:
    found = _by_factor(rows, view)
    return {
        "x": [_short(factor * math.exp(beside)) for factor in found],
        "y": [_short(of.middle) for of in found.values()],
        "error_y": {
            "array": [_short(of.high - of.middle) for of in found.values()],
            "arrayminus": [_short(of.middle - of.low) for of in found.values()],
        },
        "hovertext": [
            f"× {factor_words(factor)}: median of {count(of.tokens, 'token')} {number(of.middle)}<br>"
            f"quartiles {_between(of)}"
            for factor, of in found.items()
        ],
        "visible": bool(found),
    }


def _between(of: Quartiles) -> str:
    return f"{number(of.low)} to {number(of.high)}"


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _lines(rows: list[Row], view: str) -> list[Any]:
    """The tokens as they are drawn, for the data."""
    known = _measured(rows, view)
    ends: list[Any] = [None, None]
    if view == "realised":
        ends = [
            [None if row[end] is None else _short(row[end]) for row in known]
            for end in ("realised_low", "realised_high")
        ]
    return [
        "token",
        [row["token"] for row in known],
        [row["factor"] for row in known],
        of_trace(1, "y"),
        *ends,
    ]


def _summary(what: str, rows: list[Row], view: str) -> list[Any]:
    """Median and quartiles by factor, for the data."""
    found = _by_factor(rows, view)
    columns = [[_short(getattr(of, name)) for of in found.values()] for name in ("middle", "low", "high")]
    return [what, None, list(found), *columns]


def _notes(rows: list[Row], controls: dict[str, list[Row]], steps: str) -> list[str]:
    tokens = len({row["token"] for row in rows})
    near, far = errors(rows)
    beside = [f"{CONTROLS[name]} {_errors(*errors(of))}" for name, of in controls.items() if of]
    told = [
        f"{count(tokens, 'token')}. Median |ln(realised / asked)|: {_errors(near, far)}"
        f"{'; ' if beside else ''}{'; '.join(beside)}."
    ]
    if any(row["calibrated"] != (steps == "yes") for of in controls.values() for row in of):
        told.append(
            f"The controls were run with steps {CALIBRATION['no' if steps == 'yes' else 'yes']} only."
        )
    if not all(controls.values()):
        told.append("No controls were run with this change of the row, or not all of them.")
    refused = [row for row in rows if row["reason"]]
    if refused:
        reasons = unreached(rows)
        more = len(reasons) - _MOST_REASONS
        told.append(
            f"{number(len(refused))} of {number(len(rows))} factors could not be asked: "
            f"{'; '.join(reasons[:_MOST_REASONS])}{f'; and {more} more reasons' if more > 0 else ''}."
        )
    return told


def _errors(near: float | None, far: float | None) -> str:
    parts = [
        f"{number(value, 2)} {where}"
        for value, where in ((near, "for factors from 1/2 to 2"), (far, "beyond"))
        if value is not None
    ]
    return " and ".join(parts) or "nothing measured"


def _named(controls: dict[str, list[Row]]) -> list[str]:
    return [CONTROLS[name] for name, rows in controls.items() if rows]


def _table(rows: list[Row], controls: dict[str, list[Row]]) -> list[dict[str, Any]]:
    def median(some: list[Row], value: Callable[[Row], float | None]) -> float | None:
        found = quartiles([known for row in some if (known := value(row)) is not None])
        return None if found is None else found.middle

    def error(row: Row) -> float | None:
        return None if row["log_error"] is None else abs(row["log_error"])

    beside = [by_factor(some) for some in controls.values() if some]
    lines = []
    for factor, some in by_factor(rows).items():
        of = quartiles([row["realised"] for row in some])
        lines.append(
            {
                "asked": factor_words(factor),
                "tokens": len(some),
                "realised": None if of is None else of.middle,
                "quartiles": "–" if of is None else _between(of),
                "error": median(some, error),
                "controls": [median(one.get(factor, []), error) for one in beside],
                "alone": abs(math.log(factor)),
                "js": median(some, lambda row: row["js"]),
                "others": median(
                    some, lambda row: None if row["others"] is None else math.exp(row["others"])
                ),
            }
        )
    return lines
