"""How many coordinates carry the fit: contributions in falling order, and their running share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lmscope.report.by_rank import LOWER, UPPER
from lmscope.report.figures import BLUE, GREY, ORANGE, VERMILLION, Figure, Variant, of_trace, packed
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.unembedding_rows import Choices, checkpoints, names, of_label
from lmscope.report.words import as_html, number, percent

ORDER = 62

_BASES: Choices = {
    "coordinates": "coordinates of the state",
    "components": "principal components of the embedding",
}
_SHARE = 0.9
_FAR = 1e-5
"""Of the largest contribution: the axis ends there."""

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice, checkpoint_choice %}
<div class="controls">{{ part_choice("Basis", bases, "slope") }}
{{ checkpoint_choice(of, "slope") }} <button data-save="slope">Data (CSV)</button></div>
<p class="note" data-html="slope"></p>
<div class="figure" id="slope" role="img"
aria-label="Contributions of coordinates, and their running share"></div>
"""

FloatArray = NDArray[np.float64]


def section(records: Records) -> Section | None:
    shown = checkpoints(records, "slope")
    if not shown:
        return None
    of = names(shown)
    rows = {(row["basis"], one.key): row for one in shown for row in one.rows(records, "slope")}
    bases = {basis: name for basis, name in _BASES.items() if any(key[0] == basis for key in rows)}
    states = {
        f"{basis}:{one.key}": of_label(name[0].upper() + name[1:], shown, one)
        for one in shown
        for basis, name in bases.items()
        if (basis, one.key) in rows
    }

    def variant(key: str) -> Variant:
        basis, at = key.split(":")
        return _variant(rows[basis, at], states[key])

    figure = Figure(
        _traces(),
        _layout(),
        states,
        variant,
        first=next(iter(states)),
        columns=["what", "rank", "number", "contribution, or share of the squares up to here"],
    )
    return Section(
        key="slope",
        title="Slope: which coordinates carry it",
        template=_TEMPLATE,
        values={"bases": bases, "of": of},
        shows="Above, |slope| × spread of the rows for every coordinate, in falling order; orange dots are "
        "what minus the mean state would give for the same coordinate. Below, the share of the squared "
        "contributions up to each rank. Grey is chance: a slope of Gaussian entries of equal size, which is "
        "far from even too; dotted, an even spread.",
        surprise="A blue curve that follows the grey one is not sparse, however steep it looks. Sparse "
        "among coordinates but not among components: a few outlier coordinates of large spread carry it. "
        "A large contribution does not say that the model needs the coordinate; removal does.",
        figure=figure,
    )


def _traces() -> list[dict[str, Any]]:
    def trace(name: str, panel: str, colour: str, **more: Any) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "legendgroup": name,
            "showlegend": panel == "y",
            "yaxis": panel,
            "line": {"color": colour, "width": 2},
            "hovertemplate": "rank %{x}: %{y:.3g}<extra></extra>",
            **more,
        }

    dots = {"mode": "markers", "marker": {"color": ORANGE, "size": 4, "opacity": 0.6}}
    found = {"hovertemplate": "rank %{x}, number %{customdata}: %{y:.3g}<extra></extra>"}
    even = {"line": {"color": GREY, "width": 1.5, "dash": "dot"}, "hoverinfo": "skip"}
    return [
        trace("minus the mean state", "y", ORANGE, **dots),
        trace("Gaussian slope", "y", GREY),
        trace("slope", "y", BLUE, **found),
        trace("Gaussian slope", "y2", GREY),
        trace("even spread", "y2", GREY, **even) | {"showlegend": True},
        trace("slope", "y2", BLUE, **found),
    ]


def _layout() -> dict[str, Any]:
    axis = {"automargin": True, "fixedrange": True, "zeroline": False}
    return {
        "height": 520,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "hovermode": "closest",
        "dragmode": "zoom",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "title": {"text": "rank by contribution (1: largest)"},
            "anchor": "y2",
            "automargin": True,
            "zeroline": False,
            "showgrid": False,
        },
        "yaxis": {
            **axis,
            "domain": UPPER,
            "type": "log",
            "title": {"text": "contribution (nats)"},
            "exponentformat": "e",
            "dtick": 1,
        },
        "yaxis2": {
            **axis,
            "domain": LOWER,
            "range": [0, 1.03],
            "tickformat": ".0%",
            "title": {"text": "running share of squares"},
        },
    }


def _variant(row: Row, label: str) -> Variant:
    contribution = np.asarray(row["contribution"], dtype=np.float64)
    order = np.argsort(-contribution, kind="stable")
    found, by_mean = contribution[order], None
    chance = _gaussian(found)
    if row["mean_hidden"] is not None and len(row["mean_hidden"]):
        by_mean = np.abs(row["mean_hidden"] * row["spread"])[order]
    numbers = {"x0": 1, "dx": 1, "customdata": packed(order, "u4"), "visible": True}
    ranked = {"x0": 1, "dx": 1, "visible": True}
    data: list[dict[str, Any]] = [
        {"visible": False} if by_mean is None else {**ranked, "y": packed(_positive(by_mean), "f4")},
        {**ranked, "y": packed(_positive(chance), "f4")},
        {**numbers, "y": packed(_positive(found), "f4")},
        {**ranked, "y": packed(_running(chance))},
        {"x": [0, len(found)], "y": [0, 1]},
        {**numbers, "y": packed(_running(found))},
    ]
    note = _note(row, found, chance)
    top = float(np.log10(found[0])) if found[0] > 0 else 0.0
    return Variant(
        label,
        data,
        {
            "xaxis": {"range": [1 - 0.02 * len(found), 1.02 * len(found)]},
            "yaxis": {"range": [max(top + np.log10(_FAR), _low(found)), top + 0.2]},
            "shapes": [_mark(row["ninety"])],
            "annotations": [_name(row["ninety"], len(found))],
        },
        html=as_html(note),
        note=note,
        parts=[
            ["contribution", _ranks(found), order.tolist(), of_trace(2, "y")],
            ["minus the mean state", _ranks(found), order.tolist(), of_trace(0, "y")],
            ["running share", _ranks(found), order.tolist(), of_trace(5, "y")],
            ["running share, Gaussian slope", _ranks(found), None, of_trace(3, "y")],
        ],
    )


def _ranks(values: FloatArray) -> list[int]:
    return list(range(1, len(values) + 1))


def _positive(values: FloatArray) -> FloatArray:
    """Zeros are gaps: they have no place on a logarithmic axis."""
    return np.where(values > 0, values, np.nan)


def _low(values: FloatArray) -> float:
    positive = values[values > 0]
    return float(np.log10(positive[-1])) - 0.2 if positive.size else -1.0


def _gaussian(contributions: FloatArray) -> FloatArray:
    """Quantiles of the absolute values of as many Gaussians, in falling order, of the same sum of squares."""
    size = len(contributions)
    drawn = ndtri(1.0 - 0.5 * (np.arange(size) + 0.5) / size)
    return np.asarray(drawn * np.sqrt(np.sum(contributions**2) / np.sum(drawn**2)))


def _running(contributions: FloatArray) -> FloatArray:
    squares = np.cumsum(contributions**2)
    return squares / squares[-1] if squares[-1] > 0 else squares


def _needed(contributions: FloatArray) -> int:
    return int(np.searchsorted(_running(contributions), _SHARE)) + 1


def _note(row: Row, found: FloatArray, chance: FloatArray) -> str:
    dimensions = len(found)
    participation = float(np.sum(chance**2) ** 2 / np.sum(chance**4))
    return (
        f"{number(row['ninety'])} of {number(dimensions)} ({percent(row['ninety'] / dimensions)}) hold 90 % "
        f"of the squared contributions, where a Gaussian slope needs {number(_needed(chance))} and an even "
        f"spread {number(int(np.ceil(_SHARE * dimensions)))}; participation ratio "
        f"{number(row['participation'])} (Gaussian: {number(participation)}), Gini index "
        f"{number(row['gini'])}"
    )


def _mark(ninety: int) -> dict[str, Any]:
    return {
        "type": "line",
        "x0": ninety,
        "x1": ninety,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": VERMILLION, "width": 1.5, "dash": "dot"},
    }


def _name(ninety: int, dimensions: int) -> dict[str, Any]:
    left = ninety < 0.7 * dimensions
    return {
        "text": f"90 %: {number(ninety)}",
        "x": ninety,
        "xanchor": "left" if left else "right",
        "xshift": 3 if left else -3,
        "y": 0.49,
        "yref": "paper",
        "yanchor": "middle",
        "showarrow": False,
        "font": {"color": VERMILLION, "size": 12},
    }
