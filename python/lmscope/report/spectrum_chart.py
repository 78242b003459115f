"""The chart of one spectrum: histogram, noise curve, edges and ticks of the values outside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.analyses.marchenko_pastur_law import density
from lmscope.report.figures import BLUE, GREY, PURPLE, VERMILLION, packed
from lmscope.report.records import Row
from lmscope.report.words import count, number

FloatArray = NDArray[np.float64]

_MOST_BINS = 256
_CURVE_POINTS = 200


def base() -> list[dict[str, Any]]:
    bars = {"color": GREY, "opacity": 0.55, "line": {"width": 0}}
    curve = {"color": BLUE, "width": 2}

    def ticks(colour: str, size: int, width: float) -> dict[str, Any]:
        marker = {"symbol": "line-ns-open", "size": size, "color": colour, "line": {"width": width}}
        return {
            "type": "scatter",
            "mode": "markers",
            "yaxis": "y2",
            "hovertemplate": "%{x:.5g}",
            "marker": marker,
        }

    return [
        {
            "type": "bar",
            "offset": 0,
            "name": "singular values",
            "marker": bars,
            "hovertemplate": "%{y} values from %{x:.4g}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Marchenko–Pastur noise",
            "line": curve,
            "hoverinfo": "skip",
        },
        ticks(VERMILLION, 15, 1.5),
        ticks(BLUE, 11, 1.0),
    ]


def layout_of_all() -> dict[str, Any]:
    return {
        "height": 440,
        "bargap": 0,
        "hovermode": "closest",
        "dragmode": "zoom",
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "xaxis": {
            "title": {"text": "singular value"},
            "automargin": True,
            "anchor": "y2",
            "zeroline": False,
            "showgrid": False,
        },
        "yaxis": {
            "title": {"text": "number of values"},
            "automargin": True,
            "domain": [0.11, 1],
            "rangemode": "tozero",
            "fixedrange": True,
        },
        "yaxis2": {"domain": [0, 0.08], "range": [-1, 1], "visible": False, "fixedrange": True},
    }


def chart(row: Row) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, list[float]]]:
    """Histogram, noise curve and ticks of one matrix; its named edges; ranges worth looking at."""
    values = row["singular_values"]
    if not values.size:
        return [{"visible": False}] * 4, {"shapes": [], "annotations": []}, {}
    lower, upper = row["lower_edge"], row["upper_edge"]
    edges = [edge for edge in (upper, row["permutation_edge"], row["sign_flip_edge"]) if edge is not None]

    start, width, counts = histogram(values, lower, upper)
    # By the record's counts (values descend): chart and table must not differ by a value that is within its
    # error of an edge.
    place = np.arange(values.size)
    learnt = place < (row["learnt"] or 0)
    only_iid = (place < (row["n_above"] or 0)) | (place >= values.size - (row["n_below"] or 0))
    only_iid &= ~learnt
    data: list[dict[str, Any]] = [
        {"x0": start, "dx": width, "width": width, "y": packed(counts, "u4")},
        {"visible": False},
        {
            **_ticks(values[learnt]),
            "name": f"{count(int(learnt.sum()), 'value')} learnt",
            "visible": bool(learnt.any()),
        },
        {
            **_ticks(values[only_iid]),
            "name": f"{number(int(only_iid.sum()))} outside the iid edges only",
            "visible": bool(only_iid.any()),
        },
    ]
    peak = float(counts.max())
    if upper is not None and row["scale"]:
        sides = np.sqrt([row["N"], row["M"]])
        x = row["scale"] * np.linspace(sides[0] - sides[1], sides.sum(), _CURVE_POINTS)
        y = values.size * width * np.nan_to_num(density(x, row["scale"], (row["rows"], row["columns"])))
        data[1] = {"x0": float(x[0]), "dx": float(x[1] - x[0]), "y": packed(y), "visible": True}
        peak = max(peak, float(y.max()))

    # Far outliers must not squeeze the bulk: the first view ends at twice the highest edge.
    largest, highest = float(values.max()), max(edges, default=0.0)
    end = max(min(1.04 * largest, 2.0 * highest), 1.35 * highest) if edges else 1.02 * largest
    left = min(float(values.min()), start)
    ends = {"edges": end, "bulk": 1.1 * upper if upper else end, "all": max(end, 1.04 * largest)}
    views = {name: [left - 0.02 * (right - left), right] for name, right in ends.items()}
    shapes, names = _marks(row)
    if largest > end:
        text = f"largest value: {number(largest, 4)}"
        names.append({"text": text, "x": 1, "xref": "paper", "xanchor": "right", **_at(0.12, "bottom")})
    layout = {
        "shapes": shapes,
        "annotations": names,
        "xaxis": {"range": views["edges"]},
        "yaxis": {"range": [0, peak * (1.0 + 0.11 * len(shapes))]},
    }
    return data, layout, views


def _at(y: float, anchor: str) -> dict[str, Any]:
    return {"y": y, "yref": "paper", "yanchor": anchor, "showarrow": False}


def _ticks(values: FloatArray) -> dict[str, Any]:
    return {"x": packed(values), "y": packed(np.zeros(values.size), "u1")}


def histogram(
    values: FloatArray, lower: float | None, upper: float | None
) -> tuple[float, float, NDArray[np.int64]]:
    """Start, bin width and counts of at most 256 equal bins that resolve the bulk.

    Where the values spread far wider than the bulk the bins are wider, too, so that they hold some values
    each. Values too far out for 256 bins are left to the ticks: those are all outliers.
    """
    smallest, largest = float(values.min()), float(values.max())
    bulk_end = min(largest, upper) if upper is not None and upper > smallest else largest
    bulk_start = max(smallest, lower) if lower is not None and lower < bulk_end else smallest
    wanted = 2.0 * values.size ** (1 / 2)
    middle = float(np.subtract(*np.quantile(values, [0.9, 0.1])))
    if middle > bulk_end - bulk_start > 0.0:
        wanted *= (bulk_end - bulk_start) / middle
    bulk_bins = int(np.clip(wanted, 12, _MOST_BINS // 2))
    width = (bulk_end - bulk_start) / bulk_bins
    if not width > 0.0:  # all values the same
        return 0.5 * smallest, smallest or 1.0, np.array([values.size])
    # Bins stand on the bulk's left edge, so that the first bar does not straddle it.
    left = min(int(np.ceil(max(0.0, bulk_start - smallest) / width)), (_MOST_BINS - bulk_bins) // 2)
    right = min(int(np.floor((largest - bulk_start) / width)) + 1, _MOST_BINS - left)
    start = bulk_start - left * width
    counts, _ = np.histogram(values, bins=left + right, range=(start, start + (left + right) * width))
    return start, width, counts


def _marks(row: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A line and a name for each edge, names one below the other so that they never overlap."""
    marks = [
        (row["sign_flip_edge"], f"sign-flip edge: {number(row['learnt'])} above", VERMILLION, "solid"),
        (
            row["permutation_edge"],
            f"permutation edge: {number(row['n_above_permutation'])} above",
            PURPLE,
            "dash",
        ),
        (row["upper_edge"], f"iid edge: {number(row['n_above'])} above", BLUE, "dot"),
        (row["lower_edge"] or None, f"lower iid edge: {number(row['n_below'])} below", BLUE, "dot"),
    ]
    shapes: list[dict[str, Any]] = []
    names: list[dict[str, Any]] = []
    for edge, text, colour, dash in marks:
        if edge is None:
            continue
        top = 1.0 - 0.065 * len(names)
        line = {"color": colour, "width": 1.8, "dash": dash}
        ends = {"x0": edge, "x1": edge, "y0": 0, "y1": top, "yref": "paper"}
        shapes.append({"type": "line", **ends, "line": line})
        place = {"x": edge, "xanchor": "left", "xshift": 3, **_at(top, "top")}
        names.append({"text": text, **place, "font": {"color": colour}})
    return shapes, names
