"""Figures as plotly dictionaries: a base, and variants that replace parts of it (a measure, a matrix)."""

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
    """One state of a figure: parts that replace the base's, the words above it, HTML beside it.

    ``views`` are ranges of the x axis by name, for buttons with data-view.
    """

    label: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    html: str = ""
    views: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A chart of the page.

    ``selects`` names the figure that a click on a point with customdata (a key) switches; ``cells`` gives
    (column, row) of the key to outline while that figure shows it.
    """

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    variants: dict[str, Variant]
    selects: str = ""
    cells: dict[str, tuple[int, int]] = field(default_factory=dict)


def packed(values: ArrayLike, dtype: str = "") -> dict[str, str]:
    """A 1-D array in plotly.js's typed-array form: ``u1`` to ``u4``, ``f4``, ``f8``.

    By default ``f4`` (seven digits), and ``f8`` where numbers are too large or too small for that.
    """
    array = np.asarray(values)
    if not dtype:
        size = np.abs(array[array != 0])
        dtype = "f4" if not size.size or 1e-37 < size.min() <= size.max() < 1e38 else "f8"
    array = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<"))
    return {"dtype": dtype, "bdata": base64.b64encode(array.tobytes()).decode("ascii")}
