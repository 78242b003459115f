"""Roles compared across depth: one line per role, layers from left to right."""

from __future__ import annotations

from statistics import median_low
from typing import Any

from lmscope.report.figures import STATE, Figure, Variant, of_trace
from lmscope.report.lanes import in_lanes
from lmscope.report.looks import OTHER_LOOKS, ROLE_LOOKS
from lmscope.report.measures import MEASURES, NAMES, Measure
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, plain

ORDER = 25

_TICK_EACH_UP_TO_LAYERS = 26

_TEMPLATE = """
{% from "controls.html.jinja" import measure_choice %}
{{ measure_choice("Map and lines show", figure, "depth") }}
<div class="figure" id="depth" role="img" aria-label="One line per role over the layers"></div>
"""

Lane = dict[int, list[tuple[int, Row]]]


def section(records: Records) -> Section | None:
    in_layers = [(index, row) for index, row in enumerate(records.spectra) if row["layer"] is not None]
    if not in_layers:
        return None
    figure = _figure(in_layers)
    experts = any(row["expert"] is not None for _, row in in_layers)
    of_experts = (
        "The line of a role with experts is their median, the band reaches from the lowest expert to the "
        "highest; a click shows the expert at the median. "
    )
    return Section(
        key="depth",
        title="Depth: roles compared across layers",
        template=_TEMPLATE,
        values={"figure": figure},
        shows="One line per role, first layer at the left, last at the right; one point is one matrix. "
        f"{of_experts if experts else ''}Click a point to see its spectrum below, a name above the chart to "
        "hide or show its line.",
        surprise="Most models change smoothly with depth, apart from the first and last few layers. A jump "
        "between neighbours, one role that runs against the others, or a line that lies on zero "
        "deserves a look.",
        figure=figure,
    )


def _figure(matrices: list[tuple[int, Row]]) -> Figure:
    layers = sorted({row["layer"] for _, row in matrices})
    lanes = in_lanes(matrices, experts_apart=False)
    data: list[dict[str, Any]] = []
    parts: list[list[Any]] = []
    spare = iter(OTHER_LOOKS * len(lanes))
    for name, lane in lanes.items():
        role = next(iter(lane.values()))[0][1]["role"]
        look = ROLE_LOOKS.get(role) if name == plain(role) else None
        line, part = _line(name, role, lane, *(look or next(spare)), first=len(data), many=len(layers) > 40)
        data += line
        parts.append(part)

    def variant(key: str) -> Variant:
        measure = MEASURES[key]
        values = [part for lane in lanes.values() for part in _values(lane, measure)]
        axis = {
            "title": {"text": measure.label.lower().replace("ks", "KS")},
            "tickformat": measure.tick_format,
        }
        return Variant(measure.label, values, {"yaxis": axis}, html=as_html(measure.note), note=measure.note)

    ticks = {"tickmode": "array", "tickvals": layers, "ticktext": [str(layer) for layer in layers]}
    layout = {
        "height": 400,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "title": {"text": "layer"},
            "range": [layers[0] - 0.5, layers[-1] + 0.5],
            "automargin": True,
            "zeroline": False,
            "showgrid": False,
            "fixedrange": True,
            "tickformat": "d",
            # Labels clear of the markers of points at zero.
            "ticks": "outside",
            "ticklen": 7,
            "tickcolor": "rgba(0,0,0,0)",
            **(ticks if len(layers) <= _TICK_EACH_UP_TO_LAYERS else {"nticks": 20}),
        },
        "yaxis": {"automargin": True, "rangemode": "tozero", "fixedrange": True},
    }
    return Figure(
        data,
        layout,
        NAMES,
        variant,
        first="learnt",
        selects="spectrum",
        follows="overview",
        columns=[
            "role",
            "layer",
            "matrices",
            "matrix, or the expert at the median",
            STATE,
            "lowest",
            "highest",
        ],
        parts=parts,
    )


def _line(
    name: str, role: str, lane: Lane, colour: str, symbol: str, *, first: int, many: bool
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Traces of one lane and its part of the data: the points, with experts also both ends of a band."""
    layers = list(lane)
    line: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": layers,
        "line": {"color": colour, "width": 1.5},
        "marker": {"symbol": symbol, "size": 6 if many else 9},
        "cliponaxis": False,
    }
    points = first + (2 if _has_experts(lane) else 0)
    counts = [len(matrices) for matrices in lane.values()]
    ends: list[Any] = [None, None]
    traces = [line]
    if _has_experts(lane):
        band: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines",
            "x": layers,
            "line": {"width": 0, "color": colour},
            "legendgroup": name,
            "showlegend": False,
            "hoverinfo": "skip",
        }
        traces = [band, {**band, "fill": "tonexty", "opacity": 1, "fillcolor": _faint(colour)}, line]
        ends = [of_trace(first, "y"), of_trace(first + 1, "y")]
    part = [role, layers, counts, of_trace(points, "ids"), of_trace(points, "y"), *ends]
    return traces, part


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def _has_experts(lane: Lane) -> bool:
    return any(len(matrices) > 1 for matrices in lane.values())


def _values(lane: Lane, measure: Measure) -> list[dict[str, Any]]:
    """What the traces of `_line` hold for one measure; a median is an expert's own: it can be shown."""
    y: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    hover: list[str] = []
    shown: list[tuple[int, Row]] = []
    for layer, matrices in lane.items():
        known = sorted(
            ((value, i, row) for i, row in matrices if (value := measure.value(row)) is not None),
            key=lambda one: one[0],
        )
        values = [value for value, _, _ in known]
        middle = median_low(values) if values else None
        y.append(middle)
        low.append(values[0] if values else None)
        high.append(values[-1] if values else None)
        index, row = next(((i, row) for value, i, row in known if value == middle), matrices[0])
        shown.append((index, row))
        words = (
            f"<b>{as_html(row['name'])}</b><br>{plain(row['role'])}, layer {layer}: {measure.words(middle)}"
        )
        if len(matrices) > 1:
            ends = f"{measure.words(low[-1])} to {measure.words(high[-1])}"
            words += f"<br>median of {len(values)} experts, which go from {ends}"
        hover.append(words)
    points = {
        "y": y,
        "hovertext": hover,
        "hoverinfo": "text",
        "customdata": [str(index) for index, _ in shown],
        "ids": [row["name"] for _, row in shown],
    }
    return [{"y": low}, {"y": high}, points] if _has_experts(lane) else [points]
