"""What taking coordinates out of the state before the head does to predictions."""

from __future__ import annotations

from math import log10
from statistics import fmean
from typing import Any

from lmscope.report.figures import BLUE, GREY, ORANGE, VERMILLION, Figure, Variant
from lmscope.report.generation_rows import generation_table
from lmscope.report.records import Records, Row
from lmscope.report.removable_set import of_mask
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.unembedding_rows import Choices, checkpoints, of_label
from lmscope.report.words import as_html, count, number, percent

ORDER = 64

_VIEWS: Choices = {
    "js": "Jensen–Shannon divergence",
    "kl": "KL divergence",
    "loss": "loss",
    "same_top": "positions with the same most probable token",
}
_AXES = {
    "js": "JS (nats)",
    "kl": "KL (nats)",
    "loss": "loss (nats per token)",
    "same_top": "same most probable token",
}
_NOTES = {
    "js": "Mean over positions, in nats: 0 where nothing changes, at most log 2 = 0.693",
    "kl": "Of the distribution afterwards from the one before, mean over positions, in nats",
    "loss": "Of the true next token; the dotted line is the untouched head's",
    "same_top": "Share of positions whose most probable token is the untouched head's; greedy generation "
    "parts at the first place where it is not",
}
_FILLS = {"zero": "set to zero", "mean": "set to their mean"}
_ORDERS = {"least": "least contribution first", "most": "most contribution first"}

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice %}
<div class="controls">{{ part_choice("Lines show", views, "removal") }}
{% if of | length > 1 %}{{ part_choice("Of", of, "removal") }}{% endif %}
 <button data-save="removal">Data (CSV)</button></div>
<div class="figure" id="removal" role="img"
aria-label="Divergence against the share of coordinates removed"></div>
<div data-html="removal"></div>
"""

_BELOW = """
<p class="note">{{ note }}</p>
<p>{{ proposed }}</p>
{{ generations }}
"""


def section(records: Records) -> Section | None:
    shown = checkpoints(records, "removal")
    if not shown:
        return None
    curves: dict[str, tuple[list[Row], list[Row], list[Row]]] = {}
    of: Choices = {}
    for one in shown:
        rows = one.rows(records, "removal")
        (head,) = one.rows(records, "heads")
        for fill in dict.fromkeys(row["fill"] for row in rows):
            key = str(len(of))
            of[key] = of_label(f"coordinates {_FILLS.get(fill, fill)}", shown, one)
            curves[key] = (
                [row for row in rows if row["fill"] == fill],
                [
                    {**row, "dimensions": head["dimensions"]}
                    for row in one.rows(records, "mask")
                    if row["fill"] == fill
                ],
                one.rows(records, "generations"),
            )
    states = {
        f"{view}:{key}": f"{name[0].upper()}{name[1:]}, {of[key]}"
        for key in of
        for view, name in _VIEWS.items()
    }

    def variant(key: str) -> Variant:
        view, at = key.split(":")
        return _variant(*curves[at], view, states[key])

    figure = Figure(
        _traces(),
        {
            "height": 440,
            "margin": {"l": 10, "r": 20, "t": 54, "b": 44},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
            "xaxis": {
                "title": {"text": "share of the coordinates removed"},
                "tickformat": ".0%",
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
                "range": [0, 1],
            },
            "yaxis": {"automargin": True, "fixedrange": True, "zeroline": False},
        },
        states,
        variant,
        first=next(iter(states)),
        columns=["order", "draw", "share", "coordinates", "value", "low", "high"],
    )
    return Section(
        key="removal",
        title="Removal: coordinates that the head can do without",
        template=_TEMPLATE,
        values={"views": _VIEWS, "of": of},
        shows="Coordinates are taken out of the state in front of the head, and the next-token distribution "
        "is compared with the untouched one at the same places. Blue goes from the least contribution "
        "upwards, orange-red from the most; grey is chance: random orders, their mean in a band from the "
        "lowest to the highest draw. The diamond is the proposed set, the largest that stays within the "
        "limit.",
        surprise="A blue line that does not leave the grey band: then contribution says nothing about need. "
        "A set within the limit on this text may exceed it on another. Only the head is changed: layers "
        "before it still compute and use these coordinates, so nothing is saved inside the model.",
        figure=figure,
    )


def _traces() -> list[dict[str, Any]]:
    def line(name: str, colour: str, symbol: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "line": {"color": colour, "width": 2},
            "marker": {"symbol": symbol, "size": 7},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": colour},
            "cliponaxis": False,
            "hoverinfo": "text",
        }

    edge = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0, "color": GREY},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    return [
        edge,
        {**edge, "fill": "tonexty", "fillcolor": "rgba(138,148,160,0.25)"},
        line("random order", GREY, "x"),
        line(_ORDERS["least"], BLUE, "circle"),
        line(_ORDERS["most"], VERMILLION, "square"),
        {
            "type": "scatter",
            "mode": "markers",
            "name": "proposed set",
            "marker": {"symbol": "diamond", "size": 13, "color": ORANGE, "line": {"width": 1, "color": BLUE}},
            "cliponaxis": False,
            "hoverinfo": "text",
        },
    ]


def _variant(rows: list[Row], masks: list[Row], generations: list[Row], view: str, label: str) -> Variant:
    logarithmic = view in ("js", "kl")
    held = [row for row in rows if row[view] is not None and not (logarithmic and row[view] <= 0)]
    random = [row for row in held if row["order"] == "random"]
    shares = sorted({row["share"] for row in random})
    by_share = [[row for row in random if row["share"] == share] for share in shares]
    mean = {
        "x": shares,
        "y": [fmean(row[view] for row in some) for some in by_share],
        "hovertext": [_hover_random(some, view) for some in by_share],
        "visible": bool(shares),
    }
    several = any(len(some) > 1 for some in by_share)
    ends = [
        {"x": shares, "y": [end(row[view] for row in some) for some in by_share], "visible": several}
        for end in (min, max)
    ]
    data = [
        *ends,
        mean,
        *(_line([row for row in held if row["order"] == order], view) for order in _ORDERS),
        _proposed(masks, view),
    ]
    shapes, named = _lines(rows, masks, view)
    axis: dict[str, Any] = {"title": {"text": _AXES[view]}}
    axis |= (
        {"type": "log", "tickformat": "", "exponentformat": "e", "dtick": 1}
        if logarithmic
        else {"type": "linear", "tickformat": ".0%" if view == "same_top" else "", "dtick": None}
    )
    places = next((row["positions"] for row in rows), 0)
    note = f"{_NOTES[view]}; {count(places, 'position')}"
    intervals = " Brackets are 95 % intervals over windows." if view == "js" and _has_intervals(held) else ""
    return Variant(
        label,
        data,
        {"yaxis": axis, "shapes": shapes, "annotations": named},
        html=render(
            _BELOW,
            note=f"{note}.{intervals}",
            proposed=_said(masks),
            generations=generation_table(generations),
        ),
        note=note,
        parts=[
            [
                row["order"],
                row["draw"],
                row["share"],
                row["dimensions"],
                row[view],
                row["js_low"] if view == "js" else None,
                row["js_high"] if view == "js" else None,
            ]
            for row in rows
        ],
    )


def _has_intervals(rows: list[Row]) -> bool:
    return any(row["js_low"] is not None for row in rows)


def _line(rows: list[Row], view: str) -> dict[str, Any]:
    bars = view == "js" and _has_intervals(rows)
    return {
        "x": [row["share"] for row in rows],
        "y": [row[view] for row in rows],
        "hovertext": [_hover(row, view) for row in rows],
        "error_y": {
            "visible": bars,
            "array": [_reach(row["js_high"], row["js"]) for row in rows],
            "arrayminus": [_reach(row["js"], row["js_low"]) for row in rows],
        },
        "visible": bool(rows),
    }


def _reach(high: float | None, low: float | None) -> float | None:
    return None if high is None or low is None else high - low


def _words(value: float, view: str) -> str:
    return percent(value) if view == "same_top" else f"{number(value)} nats"


def _hover(row: Row, view: str) -> str:
    order = _ORDERS.get(row["order"], row["order"])
    return (
        f"<b>{as_html(order)}</b>: {percent(row['share'])} ({count(row['dimensions'], 'coordinate')})<br>"
        f"{_words(row[view], view)}<br>JS {number(row['js'])} ({_interval(row)}), loss "
        f"{number(row['baseline_loss'], 4)} → {number(row['loss'], 4)}, same most probable token "
        f"{percent(row['same_top'])}"
    )


def _interval(row: Row) -> str:
    if row["js_low"] is None or row["js_high"] is None:
        return "no interval"
    return f"95 % {number(row['js_low'])} to {number(row['js_high'])}"


def _hover_random(rows: list[Row], view: str) -> str:
    values = [row[view] for row in rows]
    ends = f", {_words(min(values), view)} to {_words(max(values), view)}" if len(values) > 1 else ""
    return (
        f"<b>random order</b>, mean of {count(len(values), 'draw')}: {percent(rows[0]['share'])}<br>"
        f"{_words(fmean(values), view)}{ends}"
    )


def _proposed(masks: list[Row], view: str) -> dict[str, Any]:
    known = [row for row in masks if row["dimensions_removed"] and row["js"]] if view == "js" else []
    return {
        "x": [row["share"] for row in known],
        "y": [row["js"] for row in known],
        "hovertext": [as_html(_said([row])) for row in known],
        "visible": bool(known),
    }


def _lines(rows: list[Row], masks: list[Row], view: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The limit and the untouched head across, the proposed share upright."""
    shapes: list[dict[str, Any]] = []
    named: list[dict[str, Any]] = []
    dotted = {"color": ORANGE, "width": 1.5, "dash": "dot"}
    across = {"type": "line", "xref": "paper", "x0": 0, "x1": 1}
    if view == "js":
        shapes += [{**across, "y0": row["limit"], "y1": row["limit"], "line": dotted} for row in masks[:1]]
        named += [_label(f"limit {number(row['limit'])}", x=1, y=row["limit"], log=True) for row in masks[:1]]
    if view == "loss" and rows:
        at = rows[0]["baseline_loss"]
        shapes.append({**across, "y0": at, "y1": at, "line": {**dotted, "color": GREY}})
    for row in masks[:1]:
        if row["dimensions_removed"]:
            upright = {
                "type": "line",
                "x0": row["share"],
                "x1": row["share"],
                "yref": "paper",
                "y0": 0,
                "y1": 1,
            }
            shapes.append({**upright, "line": dotted})
    return shapes, named


def _label(text: str, *, x: float, y: float, log: bool) -> dict[str, Any]:
    return {
        "text": text,
        "x": x,
        "xref": "paper",
        "xanchor": "right",
        "y": log10(y) if log else y,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": ORANGE, "size": 12},
    }


def _said(masks: list[Row]) -> str:
    if not masks:
        return "No removable set was asked for."
    row = masks[0]
    file = f" The mask is {row['file']} in the result folder." if row["file"] else ""
    return f"{of_mask(row, row['dimensions'])}{file}"
