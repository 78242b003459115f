"""What the model loses where a slice of singular values is removed: one panel per role or matrix."""

from __future__ import annotations

import math
from typing import Any

from lmscope.report.figures import BLUE, GREY, ORANGE, Figure, Variant, without_chart
from lmscope.report.lesion_rows import KINDS, QUANTITIES, Point, Target, targets
from lmscope.report.location_rows import failures, of_which, remarks
from lmscope.report.log_axis import SignedLog
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, count, number, percent, plain
from lmscope.visible import visible

ORDER = 55

_LOOKS = {
    "lesion": ("slice removed", BLUE, "circle", "solid"),
    "random_size": ("random directions, as many", GREY, "square-open", "dot"),
    "random_energy": ("random directions, as much energy", ORANGE, "diamond-open", "dash"),
}
_ACROSS = 3
_PANEL, _GAP, _TITLE = 175, 58, 24
"""Heights in pixels."""
_BETWEEN = 0.035
"""Of the width."""
_TICK_EACH_UP_TO = 5

_TEMPLATE = """
{% from "controls.html.jinja" import remarks %}
{{ remarks(said) }}
<div class="controls"><label>Of
  <select data-part="lesions">
  {% for key, name in sets.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label>
  <label>Measure
  <select data-part="lesions">
  {% for key, name in measures.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label>
  <label>Curves show
  <select data-part="lesions">
  {% for key, name in quantities.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="lesions">Data (CSV)</button></div>
<p class="note" data-html="lesions"></p>
<div class="figure" id="lesions" role="img" aria-label="Impact of removing each slice, by role"></div>
"""

_COLUMNS = [
    *("target", "role", "layer", "slice", "kind", "draw", "directions", "removed_energy"),
    *("value", "baseline", "impact", "impact_low", "impact_high", "per_energy", "units"),
]


def section(records: Records) -> Section | None:
    rows = records.shown("lesions")
    if not rows:
        return None
    sets = targets(rows)
    units = {row["measure"]: row["unit"] for row in rows}
    names = {
        key: "roles, all layers at once" if key == "roles" else f"{plain(key)} matrices, each alone"
        for key in sets
    }
    panels = max(map(len, sets.values()))
    states = {
        f"{key}:{measure}:{quantity}": f"{_upper(names[key])}: {plain(measure)}, {name.lower()}"
        for key, some in sets.items()
        for measure in units
        if any(row["measure"] == measure for one in some for row in one.rows)
        for quantity, name in QUANTITIES.items()
    }

    def variant(key: str) -> Variant:
        chosen, measure, quantity = key.split(":")
        return _variant(states[key], sets[chosen], panels, measure, quantity, units[measure])

    figure = Figure(
        [trace for panel in range(panels) for trace in _traces(panel)],
        _base_layout(panels),
        states,
        variant,
        first=next(iter(states)),
        absent=without_chart("Not measured", "These targets were not measured so.", len(KINDS) * panels),
        columns=["what", "measure", *_COLUMNS],
    )
    return Section(
        key="lesions",
        title="Lesions: what each slice is worth",
        template=_TEMPLATE,
        values={
            "sets": names,
            "measures": {name: f"{plain(name)} ({unit})" for name, unit in units.items()},
            "quantities": QUANTITIES,
            "said": [*remarks(records), *failures(records, "lesions")],
        },
        shows="One panel per role. A slice of its singular values, from the smallest (1) to the largest, is "
        "set to zero in every layer at once, and the model is measured again: above zero it got worse. "
        "Grey is the same with a random subspace of as many directions, orange with one of as much squared "
        "norm (energy). Where numbers differ greatly, the vertical axis is logarithmic on both sides of "
        f"zero.{of_which(records)}",
        surprise="The smallest slice holds hardly any energy: harm beyond the orange control means that "
        "these few directions matter. A blue curve that follows the orange one shows energy, not "
        "information. A largest slice that does less harm than random directions of equal energy is odd.",
        figure=figure,
    )


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _traces(panel: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "legendgroup": name,
            "showlegend": panel == 0,
            "xaxis": _axis("x", panel),
            "yaxis": _axis("y", panel),
            "line": {"color": colour, "width": 2, "dash": dash},
            "marker": {"symbol": symbol, "size": 6},
            "error_y": {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": colour},
            "cliponaxis": False,
            "hoverinfo": "text",
        }
        for name, colour, symbol, dash in _LOOKS.values()
    ]


def _axis(letter: str, panel: int) -> str:
    return letter if panel == 0 else f"{letter}{panel + 1}"


def _base_layout(panels: int) -> dict[str, Any]:
    layout: dict[str, Any] = {
        "margin": {"l": 10, "r": 10, "t": 44, "b": 50},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "height": _height(panels),
    }
    for panel in range(panels):
        shared = {"fixedrange": True, "zeroline": True}
        layout[_axis("xaxis", panel)] = {
            **shared,
            "anchor": _axis("y", panel),
            "showgrid": False,
            "zeroline": False,
        }
        layout[_axis("yaxis", panel)] = {
            **shared,
            "anchor": _axis("x", panel),
            "automargin": True,
            "exponentformat": "e",
        }
    return layout


def _height(panels: int) -> int:
    rows = math.ceil(panels / _ACROSS)
    return rows * (_PANEL + _TITLE) + (rows - 1) * (_GAP - _TITLE) + 94


def _variant(label: str, shown: list[Target], panels: int, measure: str, quantity: str, unit: str) -> Variant:
    curves = [[one.curve(measure, kind, quantity) for kind in KINDS] for one in shown]
    points = [point for lines in curves for line in lines for point in line]
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    scale = SignedLog(
        [point.value for point in points],
        [
            (point.high - point.low) / 2
            for point in points
            if point.low is not None and point.high is not None
        ],
    )
    axis = scale.axis(
        min(ends, default=0.0), max(ends, default=1.0), percent if quantity == "energy" else number
    )
    slices = max((row["slices"] for one in shown for row in one.rows), default=1)
    data = [
        _line(line, kind, one, measure, quantity, unit, scale)
        for one, lines in zip(shown, curves, strict=True)
        for kind, line in zip(KINDS, lines, strict=True)
    ]
    data += [{"visible": False}] * (len(KINDS) * (panels - len(shown)))
    note = _note(shown, measure, quantity, unit, scale)
    return Variant(
        label,
        data,
        _placed(shown, panels, axis, slices),
        html=as_html(note),
        note=note,
        parts=[
            [label, measure, *([row[name] for row in rows] for name in _COLUMNS)] for rows in [_rows(curves)]
        ],
    )


def _rows(curves: list[list[list[Point]]]) -> list[Row]:
    return [row for lines in curves for line in lines for point in line for row in point.rows]


def _placed(shown: list[Target], panels: int, axis: dict[str, Any], slices: int) -> dict[str, Any]:
    """The panels in a grid, each titled; those that a larger set needs are hidden."""
    across = min(_ACROSS, len(shown))
    height = _height(len(shown) if len(shown) >= _ACROSS else 1)
    inner = height - 94
    layout: dict[str, Any] = {"height": height, "annotations": [], "shapes": []}
    ticks = list(range(1, slices + 1)) if slices <= _TICK_EACH_UP_TO else [1, (slices + 1) // 2, slices]
    wide = (1 - _BETWEEN * (across - 1)) / across
    for panel in range(panels):
        x, y = _axis("xaxis", panel), _axis("yaxis", panel)
        if panel >= len(shown):
            layout[x] = layout[y] = {"visible": False}
            continue
        row, column = divmod(panel, across)
        left = column * (wide + _BETWEEN)
        top = 1 - (row * (_PANEL + _GAP) + _TITLE) / inner
        lowest = panel + across >= len(shown)
        layout[x] = {
            "visible": True,
            "domain": [left, min(1.0, left + wide)],
            "range": [0.6, slices + 0.4],
            "tickmode": "array",
            "tickvals": ticks,
            "title": {"text": "slice (1: smallest values)" if lowest else "", "standoff": 6},
        }
        layout[y] = {
            "visible": True,
            "domain": [max(0.0, top - _PANEL / inner), top],
            "showticklabels": column == 0,
            **axis,
        }
        layout["annotations"].append(
            {
                "text": f"<b>{as_html(_short(shown[panel].label))}</b>",
                "x": left,
                "xref": "paper",
                "xanchor": "left",
                "y": top,
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    return layout


def _short(label: str) -> str:
    """The end of a long name: what tells matrices apart."""
    shown = visible(label)
    return shown if len(shown) <= 34 else f"…{shown[-33:]}"


def _line(
    points: list[Point], kind: str, target: Target, measure: str, quantity: str, unit: str, scale: SignedLog
) -> dict[str, Any]:
    y = [scale(point.value) for point in points]

    def reach(point: Point, end: float | None) -> float | None:
        return None if end is None else abs(scale(end) - scale(point.value))

    bars = any(point.low is not None for point in points)
    return {
        "x": [point.slice for point in points],
        "y": y,
        "visible": bool(points),
        "hovertext": [_hover(point, kind, target, measure, unit) for point in points],
        "error_y": {
            "visible": bars,
            "array": [reach(point, point.high) for point in points],
            "arrayminus": [reach(point, point.low) for point in points],
        },
    }


def _hover(point: Point, kind: str, target: Target, measure: str, unit: str) -> str:
    lines = [f"<b>{as_html(target.label)}</b>, slice {point.slice}: {_LOOKS[kind][0]}"]
    for row in point.rows:
        draw = f"draw {row['draw']}: " if len(point.rows) > 1 else ""
        interval = "no interval"
        if row["impact_low"] is not None and row["impact_high"] is not None:
            interval = f"95 % {number(row['impact_low'])} to {number(row['impact_high'])}"
        lines.append(
            f"{draw}{plain(measure)} {number(row['baseline'], 4)} → {number(row['value'], 4)}, impact "
            f"{number(row['impact'])} {as_html(unit)} ({interval}, {count(row['units'], 'unit')})"
        )
    one = point.rows[0]
    lines.append(
        f"{percent(one['removed_energy'])} of the energy in {count(one['directions'], 'direction')} of "
        f"{_coverage(one)}"
    )
    return "<br>".join(lines)


def _coverage(row: Row) -> str:
    if row["matrices"] < row["of_matrices"]:
        return f"{row['matrices']} of {count(row['of_matrices'], 'matrix', 'matrices')}"
    return count(row["matrices"], "matrix", "matrices")


def _note(shown: list[Target], measure: str, quantity: str, unit: str, scale: SignedLog) -> str:
    rows = [row for one in shown for row in one.rows if row["measure"] == measure]
    log = "" if scale.linear else "; the axis is logarithmic on both sides of zero"
    if quantity == "energy":
        return f"removed share of the target's squared norm{log}"
    draws = 1 + max((row["draw"] for row in rows), default=0)
    several = f"; those of the controls reach around all {draws} draws" if draws > 1 else ""
    units = max((row["units"] for row in rows), default=0)
    what = f"harm to {plain(measure)}, {unit}"
    if quantity == "per_energy":
        what += ", over the removed share of the squared norm"
    bars = (
        f"bars are paired 95 % intervals over {count(units, 'window or text', 'windows or texts')}{several}"
    )
    if not any(row["impact_low"] is not None for row in rows):
        bars = "no intervals: too few windows or texts"
    return f"{what}; {bars}{log}"
