"""Figures as plain plotly dictionaries: one base, and variants that replace parts of it (a measure, a matrix)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Okabe-Ito colours: told apart with any colour vision, readable on white and on near-black.
BLUE, VERMILLION, PURPLE, GREY = "#3b8bc8", "#d55e00", "#b5629b", "#8a94a0"


@dataclass(frozen=True)
class Variant:
    """One state of a figure: parts that replace the base's, the words above it, and HTML beside it."""

    label: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    html: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart of the page. ``selects`` names the figure that a click on a point with customdata (a key) switches;
    ``cells`` gives (column, row) of the key that is to be outlined when that figure shows it."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    variants: dict[str, Variant]
    selects: str = ""
    cells: dict[str, tuple[int, int]] = field(default_factory=dict)


def packed(values: ArrayLike, dtype: str = "f4") -> dict[str, str]:
    """A 1-D array in plotly.js's typed-array form (``f4``, ``u2``, ``u4``): exact for counts, seven digits for the rest."""
    array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode("ascii")}
