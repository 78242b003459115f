"""Very many points as counts on a grid, in a colour that is logarithmic in the count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.report.figures import COLOUR_SCALE, packed

FloatArray = NDArray[np.float64]

_CELLS = 96


@dataclass(frozen=True)
class Density:
    """Counts (y, x) of the points, and where the grid begins and how wide its cells are."""

    counts: NDArray[np.int64]
    x: tuple[float, float]
    y: tuple[float, float]

    def trace(self) -> dict[str, Any]:
        """What it gives to a heatmap; cells without a point stay empty."""
        with np.errstate(divide="ignore"):
            height = np.log10(self.counts.astype(np.float64))
        return {
            "x0": self.x[0] + self.x[1] / 2,
            "dx": self.x[1],
            "y0": self.y[0] + self.y[1] / 2,
            "dy": self.y[1],
            "z": packed(np.where(self.counts > 0, height, np.nan), "f4"),
            "customdata": self.counts.tolist(),
            "zmin": 0.0,
            "zmax": max(1.0, float(height.max())),
        }

    def lines(self) -> list[list[float]]:
        """Beginning of each cell that holds points, in x and y, and how many these are: for the data."""
        row, column = np.nonzero(self.counts)
        places = [
            [float(f"{start + width * at:.5g}") for at in index]
            for (start, width), index in ((self.x, column), (self.y, row))
        ]
        return [*places, [int(value) for value in self.counts[row, column]]]


def density(x: FloatArray, y: FloatArray, *, square: bool = False) -> Density:
    """Counts of the points whose two coordinates are finite, over their whole range.

    ``square`` gives both axes the same range. Raises ValueError where no point is finite.
    """
    both = np.isfinite(x) & np.isfinite(y)
    if not both.any():
        raise ValueError("density: none of the points is finite in both coordinates")
    x, y = x[both], y[both]
    ends = [(float(of.min()), float(of.max())) for of in (x, y)]
    if square:
        ends = [(min(low for low, _ in ends), max(high for _, high in ends))] * 2
    ends = [(low, high) if high > low else (low - 0.5, high + 0.5) for low, high in ends]
    counts, _, _ = np.histogram2d(y, x, bins=_CELLS, range=(ends[1], ends[0]))
    (left, right), (bottom, top) = ends
    return Density(
        counts.astype(np.int64),
        (left, (right - left) / _CELLS),
        (bottom, (top - bottom) / _CELLS),
    )


def heatmap(hover: str) -> dict[str, Any]:
    """The base of such a heatmap; the colour bar is in numbers of points."""
    powers = range(7)
    return {
        "type": "heatmap",
        "colorscale": COLOUR_SCALE,
        "hoverongaps": False,
        "hovertemplate": f"{hover}<extra></extra>",
        "colorbar": {
            "title": {"text": "tokens", "side": "right"},
            "tickmode": "array",
            "tickvals": list(powers),
            "ticktext": [f"{10**power:,}".replace(",", "\u202f") for power in powers],
            "thickness": 12,
        },
    }
