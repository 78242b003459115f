"""Pairs of experts as grids: those of one layer, and those of a layer with the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.report.pairs import PairRow
from lmscope.report.words import plain


@dataclass(frozen=True)
class ExpertGrid:
    """Experts ``y`` of the first of both layers, from top to bottom, with experts ``x`` of the second.

    ``rows`` (int64, y by x) are places among the pairs, -1 where there is none.
    """

    role: str
    layers: tuple[int, int]
    y: list[int]
    x: list[int]
    rows: npt.NDArray[np.int64]

    @property
    def key(self) -> str:
        return "-".join(str(layer) for layer in dict.fromkeys(self.layers))

    @property
    def choice(self) -> str:
        """As the choice of layers names it: ``3``, or ``3 with 4``."""
        return self.key.replace("-", " with ")

    @property
    def role_title(self) -> str:
        return plain(self.role)

    @property
    def title(self) -> str:
        return f"{self.role_title}, layer{'' if self.layers[0] == self.layers[1] else 's'} {self.choice}"


def expert_grids(rows: Sequence[PairRow]) -> list[ExpertGrid]:
    """One grid for each role and layer, or layer and next layer; pairs without experts are left out."""
    groups: dict[tuple[str, tuple[int, int]], dict[tuple[int, int], int]] = {}
    for place, row in enumerate(rows):
        if row["expert_x"] is None or row["expert_y"] is None:
            continue
        (first, y), (second, x) = sorted((row[f"layer_{side}"], row[f"expert_{side}"]) for side in "xy")
        found = groups.setdefault((row["role"], (first, second)), {})
        found[y, x] = place
        if first == second:
            found[x, y] = place
    return [_grid(role, layers, found) for (role, layers), found in groups.items()]


def _grid(role: str, layers: tuple[int, int], found: dict[tuple[int, int], int]) -> ExpertGrid:
    y, x = (sorted({pair[side] for pair in found}) for side in (0, 1))
    places = [[found.get((down, across), -1) for across in x] for down in y]
    return ExpertGrid(role, layers, y, x, np.array(places, np.int64))
