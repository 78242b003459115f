"""Deviation, overlap and lesions over the steps of a training, one line per role."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lmscope.report.figures import STATE, Figure, Variant
from lmscope.report.lesion_rows import targets
from lmscope.report.location_rows import steps
from lmscope.report.looks import OTHER_LOOKS, ROLE_LOOKS
from lmscope.report.records import ROLES, Records, Row, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number, percent, plain

ORDER = 56

_TEMPLATE = """
{% from "controls.html.jinja" import measure_choice %}
{{ measure_choice("Lines show", figure, "training", "training") }}
<div class="figure" id="training" role="img" aria-label="One line per role over training steps"></div>
"""


@dataclass(frozen=True)
class _Point:
    """Of one role at one step; the ends are of what the measure's note says, None where there are none."""

    step: int
    value: float
    low: float | None
    high: float | None
    of: int


@dataclass(frozen=True)
class _Measure:
    label: str
    note: str
    lines: dict[str, list[_Point]]
    words: Callable[[float | None], str] = number
    tick_format: str = ""


_OVER_MATRICES = "mean over the role's matrices; brackets reach from the lowest to the highest"


def section(records: Records) -> Section | None:
    measures = {**_of_slices(records), **_of_overlaps(records), **_of_lesions(records)}
    if not measures:
        return None
    roles = sorted({role for one in measures.values() for role in one.lines}, key=role_place)
    spare = iter(OTHER_LOOKS * len(ROLES))
    looks = {role: ROLE_LOOKS.get(role) or next(spare) for role in roles}

    def variant(key: str) -> Variant:
        one = measures[key]
        return Variant(
            one.label,
            [_values(role, one) for role in roles],
            {"yaxis": {"title": {"text": one.label}, "tickformat": one.tick_format}},
            html=as_html(one.note),
            note=one.note,
            parts=[
                [
                    role,
                    *(
                        [getattr(point, name) for point in points]
                        for name in ("step", "value", "low", "high", "of")
                    ),
                ]
                for role, points in one.lines.items()
            ],
        )

    figure = Figure(
        [_line(role, *looks[role]) for role in roles],
        _layout(
            sorted({point.step for one in measures.values() for line in one.lines.values() for point in line})
        ),
        {key: one.label for key, one in measures.items()},
        variant,
        first=next(iter(measures)),
        columns=["role", "step", STATE, "low", "high", "matrices, or units"],
    )
    return Section(
        key="training",
        title="Training: the same over its steps",
        template=_TEMPLATE,
        values={"figure": figure},
        shows="One line per role, one point per checkpoint, at the step in its name. What "
        "stands at the first step already was not learnt after it.",
        surprise="A role that moves long after the others, or that rises and then falls back. Few steps and "
        "one training: another seed may order the roles otherwise.",
        figure=figure,
    )


def _of_slices(records: Records) -> dict[str, _Measure]:
    by_step = steps(records, "slices")
    names = {
        "vector_deviation": "Vector deviation",
        "value_deviation": "Value deviation",
    }
    return {
        f"{column}_{end}": _Measure(
            f"{name}, {end} values",
            f"of the slice of the {end} singular values; {_OVER_MATRICES}",
            _averaged(by_step, partial(_in_slice, end=end, column=column)),
        )
        for column, name in names.items()
        for end in ("smallest", "largest")
        if by_step
    }


def _in_slice(row: Row, end: str, column: str) -> float | None:
    value: float | None = row[column]
    return value if row["slice"] == (1 if end == "smallest" else row["slices"]) else None


def _of_overlaps(records: Records) -> dict[str, _Measure]:
    by_step = steps(records, "overlap")
    if not by_step:
        return {}
    rate = next(iter(by_step.values()))[0]["false_positive_rate"]
    return {
        "overlaps": _Measure(
            "Overlaps above the band",
            f"share of right singular vectors whose overlap is above the band, which random directions leave "
            f"at a rate of {percent(rate)}; {_OVER_MATRICES}",
            _averaged(by_step, lambda row: float(np.mean(row["overlap"] > row["null_high"]))),
            percent,
            ".0%",
        )
    }


def _averaged(by_step: dict[int, list[Row]], value: Callable[[Row], float | None]) -> dict[str, list[_Point]]:
    lines: dict[str, list[_Point]] = defaultdict(list)
    for step, rows in by_step.items():
        by_role: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            if (known := value(row)) is not None:
                by_role[row["role"]].append(known)
        for role, values in by_role.items():
            several = len(values) > 1
            low, high = (min(values), max(values)) if several else (None, None)
            lines[role].append(_Point(step, sum(values) / len(values), low, high, len(values)))
    return dict(lines)


def _of_lesions(records: Records) -> dict[str, _Measure]:
    by_step = steps(records, "lesions")
    found: dict[str, _Measure] = {}
    rows = [row for some in by_step.values() for row in some if row["target_kind"] == "role"]
    for measure, unit in {row["measure"]: row["unit"] for row in rows}.items():
        slices = max(row["slices"] for row in rows)
        held = {row["slice"] for row in rows if row["measure"] == measure}
        for end, place in (("smallest", 1), ("middle", (slices + 1) // 2), ("largest", slices)):
            if place not in held:
                continue
            lines: dict[str, list[_Point]] = defaultdict(list)
            for step, some in by_step.items():
                for target in targets(some).get("roles", []):
                    lines[target.role] += [
                        _Point(step, point.value, point.low, point.high, point.rows[0]["units"])
                        for point in target.curve(measure, "lesion", "impact")
                        if point.slice == place
                    ]
            found[f"impact_{measure}_{end}"] = _Measure(
                f"Lesion impact on {plain(measure)}, {end} values",
                f"harm done by removing slice {place} of {slices} in all layers, {unit}; brackets are "
                "paired 95 % intervals over windows or texts",
                dict(lines),
            )
    return found


def _line(role: str, colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(role),
        "line": {"color": colour, "width": 2},
        "marker": {"symbol": symbol, "size": 8},
        "error_y": {"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": colour},
        "cliponaxis": False,
        "hoverinfo": "text",
    }


def _values(role: str, measure: _Measure) -> dict[str, Any]:
    points = measure.lines.get(role, [])
    return {
        "x": [str(point.step) for point in points],
        "y": [point.value for point in points],
        "visible": bool(points),
        "hovertext": [_hover(role, point, measure) for point in points],
        "error_y": {
            "visible": any(point.low is not None for point in points),
            "array": [None if point.high is None else point.high - point.value for point in points],
            "arrayminus": [None if point.low is None else point.value - point.low for point in points],
        },
    }


def _hover(role: str, point: _Point, measure: _Measure) -> str:
    ends = (
        "no interval" if point.low is None else f"{measure.words(point.low)} to {measure.words(point.high)}"
    )
    return f"<b>{as_html(plain(role))}</b>, step {point.step}: {measure.words(point.value)}<br>{ends}"


def _layout(of: Sequence[int]) -> dict[str, Any]:
    """Steps at equal distances: they are mostly spaced geometrically, and 0 has no logarithm."""
    return {
        "height": 440,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": [str(step) for step in of],
            "title": {"text": "training step (checkpoints at equal distances)"},
            "automargin": True,
            "showgrid": False,
            "fixedrange": True,
            "tickangle": 0,
        },
        "yaxis": {"automargin": True, "fixedrange": True, "exponentformat": "none"},
    }
