"""Records of pairs as maps: layer by layer, and experts of a layer or of two neighbouring ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PairRow = Mapping[str, Any]

HEADS = [
    "role",
    "depth",
    "series",
    "layers",
    *(f"{of}_{side}" for of in ("name", "layer", "position", "expert") for side in "xy"),
]


@dataclass(frozen=True)
class PairMap:
    """A map over matrices.

    Attributes:
        role: of the matrices.
        title: the role in words, with a number where a layer has several such matrices.
        layers, experts: of each line of the map; ``experts`` are None where there are none.
        names: tensor of each line.
        positions: of each line's layer among the `of_layers` of the checkpoint that have such a matrix:
            neighbours are those whose positions differ by one, whatever was selected.
        rows: int64, lines x lines: row of the table that holds the pair, -1 where none does; symmetric.
    """

    role: str
    title: str
    layers: list[int]
    experts: list[int | None]
    names: list[str]
    positions: list[int]
    of_layers: int
    rows: npt.NDArray[np.int64]

    def values(self, column: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """A column of the table as a map, float64; NaN where there is no pair."""
        values = np.asarray(column, dtype=np.float64)
        found = np.full(self.rows.shape, np.nan)
        there = self.rows >= 0
        found[there] = values[self.rows[there]]
        return found

    def at_distance(self, nearest: int, farthest: int | None = None) -> npt.NDArray[np.int64]:
        """Rows of the pairs whose layers are so many positions apart, both ends included."""
        apart = np.subtract.outer(self.positions, self.positions)
        far = apart.max(initial=0) if farthest is None else farthest
        return self.rows[(apart >= nearest) & (apart <= far) & (self.rows >= 0)]

    @property
    def numbered_role(self) -> str:
        """The title with the role as records and selections spell it."""
        return self.role + self.title[len(self.role) :]

    @property
    def is_contiguous(self) -> bool:
        """Whether no layer that has such a matrix is left out between two of its lines."""
        return self.positions == list(range(self.positions[0], self.positions[0] + len(self.positions)))


def layer_maps(table: pa.Table) -> list[PairMap]:
    """Maps of the matrices outside mixtures of experts, one line a layer, in the table's order of roles.

    Two matrices of one role in every layer, as with cross-attention, give two maps, and so do two lengths
    of vectors.
    """
    groups: dict[tuple[str, int, int], list[tuple[int, PairRow]]] = defaultdict(list)
    for index, row in _numbered(table, experts=False):
        groups[row["role"], row["series"], row["depth"]].append((index, row))
    return _titled([_map(group) for group in groups.values()])


def expert_maps(table: pa.Table) -> list[PairMap]:
    """Maps of the experts of one layer, one for each role and layer."""
    groups: dict[tuple[str, int], list[tuple[int, PairRow]]] = defaultdict(list)
    for index, row in _numbered(table, experts=True):
        if row["layer_x"] == row["layer_y"]:
            groups[row["role"], row["layer_x"]].append((index, row))
    return [_map(group) for _, group in sorted(groups.items())]


def _numbered(table: pa.Table, *, experts: bool) -> list[tuple[int, PairRow]]:
    rows = enumerate(table.select(HEADS).to_pylist())
    return [(index, row) for index, row in rows if (row["expert_x"] is not None) is experts]


def _map(rows: list[tuple[int, PairRow]]) -> PairMap:
    lines = {
        tuple(row[f"{of}_{side}"] for of in ("layer", "expert", "name", "position"))
        for _, row in rows
        for side in "xy"
    }
    ordered = sorted(lines, key=lambda line: (line[0], -1 if line[1] is None else line[1], line[2]))
    place = {line[2]: number for number, line in enumerate(ordered)}
    found = np.full((len(ordered), len(ordered)), -1, np.int64)
    for index, row in rows:
        x, y = place[row["name_x"]], place[row["name_y"]]
        found[x, y] = found[y, x] = index
    role = rows[0][1]["role"]
    return PairMap(
        role=role,
        title=role.replace("_", " "),
        layers=[line[0] for line in ordered],
        experts=[line[1] for line in ordered],
        names=[line[2] for line in ordered],
        positions=[line[3] for line in ordered],
        of_layers=rows[0][1]["layers"],
        rows=found,
    )


def _titled(maps: list[PairMap]) -> list[PairMap]:
    seen: dict[str, int] = defaultdict(int)
    titled: list[PairMap] = []
    for one in maps:
        seen[one.role] += 1
        number = f" ({seen[one.role]})" if seen[one.role] > 1 else ""
        titled.append(replace(one, title=one.title + number))
    return titled
