"""Figures as plotly dictionaries: a base, and states that replace parts of it (a measure, a matrix)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmscope.report.records import Row

# Okabe-Ito colours: told apart with any colour vision, readable on white and on near-black.
BLUE, VERMILLION, PURPLE, GREY = "#3b8bc8", "#d55e00", "#b5629b", "#8a94a0"
GREEN, ORANGE, SKY = "#00946b", "#e69f00", "#56b4e9"

# Light to dark, monotone in lightness, told apart with any colour vision (ColorBrewer YlGnBu).
_LIGHT_TO_DARK = [
    "#f7fbe4",
    "#e0f2c1",
    "#b5dfb9",
    "#7fcdbb",
    "#41b6c4",
    "#1d91c0",
    "#225ea8",
    "#253494",
    "#081d58",
]
COLOUR_SCALE = [[step / (len(_LIGHT_TO_DARK) - 1), colour] for step, colour in enumerate(_LIGHT_TO_DARK)]

STATE: dict[str, Any] = {"state": True}
"""In the data: the name of the state shown (a measure, a matrix), as a heading or on every line."""


@dataclass(frozen=True)
class Variant:
    """One state of a figure: parts that replace the base's, the words above it, HTML beside it.

    ``note`` says in plain words what is measured. ``views`` are ranges of the x axis by name, for buttons
    with data-view. ``parts`` are data of this state beside those that the figure names.
    """

    label: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    html: str = ""
    note: str = ""
    views: dict[str, list[float]] = field(default_factory=dict)
    parts: list[list[Any]] = field(default_factory=list)


def without_chart(label: str, html: str, traces: int) -> Variant:
    """Words in place of a chart."""
    return Variant(
        label,
        [{"visible": False}] * traces,
        # Without a trace both axes cannot have one scale.
        {
            # Below this plotly.js finds no scale for the axes.
            "height": 120,
            "margin": {"t": 0, "b": 0},
            "xaxis": {"visible": False},
            "yaxis": {"visible": False, "scaleanchor": False},
            "shapes": [],
        },
        html=html,
    )


@dataclass(frozen=True)
class Figure:
    """A chart of the page.

    ``states`` are the choices, key -> name, and ``variant`` gives the state of a key; ``matrices`` are the
    records of the states that show one matrix. ``selects`` names the figure that a click on a point with
    customdata (a key) switches; ``cells`` gives (column, row) of the key to outline while that figure shows
    it; ``follows`` names the figure whose state this one takes over. A page that would grow too large holds
    only the states ``on_page``, and shows ``absent`` for the others, and for choices that are no state;
    ``notes`` are what a click may show beside the states.

    The data behind the chart have ``columns`` and ``parts``. A part gives one entry per column: a list of
    values, `of_trace` or `bins_of_trace` for what a trace holds, or one word or number for every line of the
    part. Lines whose first entry is None are left out.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    states: Mapping[str, str]
    variant: Callable[[str], Variant]
    first: str
    matrices: Mapping[str, Row] = field(default_factory=dict)
    selects: str = ""
    follows: str = ""
    cells: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    on_page: frozenset[str] | None = None
    absent: Variant | None = None
    notes: Mapping[str, Variant] = field(default_factory=dict)
    columns: list[str | dict[str, Any]] = field(default_factory=list)
    parts: list[list[Any]] = field(default_factory=list)


def of_trace(trace: int, name: str) -> dict[str, Any]:
    """The values that a trace holds under a name; a heatmap's line by line."""
    return {"trace": trace, "of": name}


def bins_of_trace(trace: int, end: int) -> dict[str, Any]:
    """Where the steps of a trace with x0 and dx begin (``end`` 0) or end (1)."""
    return {"trace": trace, "end": end}


def cell_of(cells: int, step: int, *, down: bool) -> dict[str, Any]:
    """The first of ``step`` rows (``down``) or columns that a heatmap's cell stands for, ``cells`` a line."""
    return {"cells": cells, "step": step, "down": down}


def packed(values: ArrayLike, dtype: str = "") -> dict[str, str]:
    """An array of one or two dimensions in plotly.js's typed-array form: ``u1`` to ``u4``, ``f4``, ``f8``.

    By default ``f4`` (seven digits), and ``f8`` where numbers are too large or too small for that.
    """
    array = np.asarray(values)
    if not dtype:
        size = np.abs(array[array != 0])
        dtype = "f4" if not size.size or 1e-37 < size.min() <= size.max() < 1e38 else "f8"
    array = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
    typed = {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode("ascii")}
    return {**typed, "shape": ", ".join(map(str, array.shape))} if array.ndim > 1 else typed


def unpacked(value: Any) -> Any:
    """The array that `packed` made a dictionary of; anything else as it is."""
    if not isinstance(value, dict) or "bdata" not in value:
        return value
    flat = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]).newbyteorder("<"))
    return flat.reshape([int(side) for side in value["shape"].split(",")]) if "shape" in value else flat


def merged(base: Any, over: Any) -> Any:
    """``over`` laid on ``base``: dictionaries key by key, all else replaced (as the page's script does)."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    both = {key: merged(base[key], value) if key in base else value for key, value in over.items()}
    return {**base, **both}
