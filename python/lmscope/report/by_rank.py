"""Two panels above each other over the ranks of one matrix's singular values: what charts of these share."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmscope.report.figures import BLUE, GREY, VERMILLION, packed
from lmscope.report.records import Row
from lmscope.report.words import number

UPPER, LOWER = [0.54, 1.0], [0.0, 0.44]
"""Parts of the height that the panels take."""

BUDGET = 120_000
"""Singular values of all matrices up to which a page holds every curve: 6 MB of the page."""

VIEWS = {"all": "all", "largest": "largest tenth", "smallest": "smallest tenth"}
"""Ranges of the ranks, of which `views` gives the numbers."""


def points(name: str, panel: str, *, untrained: bool = False, faint: bool = False) -> dict[str, Any]:
    """A marker for each rank."""
    marker = {
        "size": 4 if untrained or faint else 5,
        "color": GREY if untrained else BLUE,
        "opacity": 0.4 if faint else 0.7,
    }
    return {**_trace(name, panel), "mode": "markers", "marker": marker}


def curve(name: str, panel: str, *, untrained: bool = False) -> dict[str, Any]:
    line = {"color": GREY if untrained else BLUE, "width": 1.5 if untrained else 2.2}
    return {**_trace(name, panel), "mode": "lines", "line": line}


def _trace(name: str, panel: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "legendgroup": name,
        "showlegend": panel == "y",
        "yaxis": panel,
        "hovertemplate": "%{x:.5g}: %{y:.3g}<extra></extra>",
    }


def over_ranks(values: Any) -> dict[str, Any]:
    """Data of a trace that has a value per rank; hidden where there are none."""
    if values is None:
        return {"visible": False}
    return {"x0": 0, "dx": 1, "y": packed(values), "visible": True}


def over_values(values: Any, at: Any) -> dict[str, Any]:
    """The same against the singular values."""
    if values is None or at is None:
        return {"visible": False}
    return {"x": packed(at), "y": packed(values), "visible": True}


def layout(upper: str, lower: str, height: int = 520) -> dict[str, Any]:
    """Both panels, titled; x belongs to the lower one."""
    axis = {"automargin": True, "fixedrange": True, "zeroline": False, "exponentformat": "none"}
    return {
        "height": height,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "hovermode": "closest",
        "dragmode": "zoom",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "title": {"text": RANK},
            "anchor": "y2",
            "automargin": True,
            "zeroline": False,
            "showgrid": False,
        },
        "yaxis": {**axis, "domain": UPPER, "title": {"text": upper}},
        "yaxis2": {**axis, "domain": LOWER, "title": {"text": lower}},
    }


RANK = "rank of the singular value (0: largest)"


def band(low: float, high: float, axis: str) -> dict[str, Any]:
    """Where noise lies, in a panel."""
    return {
        "type": "rect",
        "layer": "below",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": axis,
        "y0": low,
        "y1": high,
        "fillcolor": "rgba(138,148,160,0.22)",
        "line": {"width": 0},
    }


def edges(
    upper: float | None, lower: float | None, *, ascending: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines through both panels where singular values leave the noise's, named on the noise's side.

    ``ascending``: the smallest values are on the left.
    """
    shapes: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    sides = ("right", "left") if ascending else ("left", "right")
    for at, text, anchor in ((upper, "upper iid edge", sides[0]), (lower, "lower iid edge", sides[1])):
        if at is None:
            continue
        line = {"color": VERMILLION, "width": 1.5, "dash": "dot"}
        shapes.append({"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": line})
        names.append(
            {
                "text": text,
                "x": at,
                "xanchor": anchor,
                "xshift": 3 if anchor == "left" else -3,
                "y": 0.49,
                "yref": "paper",
                "yanchor": "middle",
                "showarrow": False,
                "font": {"color": VERMILLION, "size": 12},
            }
        )
    return shapes, names


def edge_ranks(row: Row) -> tuple[float | None, float | None]:
    """Between which ranks the edges lie; None where no value lies beyond."""
    size = len(row["singular_values"])
    upper = row["n_above"] - 0.5 if row["n_above"] else None
    lower = size - row["n_below"] - 0.5 if row["n_below"] else None
    return upper, lower


def views(size: int) -> dict[str, list[float]]:
    """All ranks, and a tenth at either end."""
    tenth = max(1, round(size / 10))
    room = 0.02
    return {
        "all": [-room * size, (1 + room) * (size - 1)],
        "largest": [-room * tenth, (1 + room) * tenth],
        "smallest": [size - 1 - (1 + room) * tenth, size - 1 + room * tenth],
    }


def outside_words(row: Row) -> str:
    """How many values lie beyond the edges, or why nobody knows."""
    if row["upper_edge"] is None:
        return f"No Marchenko–Pastur edges: {row['mp_reason'] or 'none could be fitted'}."
    size = len(row["singular_values"])
    return (
        f"Of {number(size)} singular values {number(row['n_above'])} lie above the upper iid edge and "
        f"{number(row['n_below'])} below the lower one."
    )


def share_below(values: Any, level: float) -> float | None:
    """None where there are no values, or no test gave them."""
    if values is None or not len(values) or np.isnan(values).any():
        return None
    return float(np.mean(np.asarray(values) < level))
