"""Records of pairs as maps: layer by layer, and experts of a layer or of two neighbouring ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PairRow = Mapping[str, Any]

HEADS = ["role", "name_x", "name_y", "layer_x", "layer_y", "expert_x", "expert_y"]


@dataclass(frozen=True)
class PairMap:
    """A map over matrices.

    Attributes:
        role: of the matrices.
        title: the role in words, with a number where a layer has several such matrices.
        layers, experts: of each line of the map; ``experts`` are None where there are none.
        names: tensor of each line.
        rows: int64, lines x lines: row of the table that holds the pair, -1 where none does; symmetric.
    """

    role: str
    title: str
    layers: list[int]
    experts: list[int | None]
    names: list[str]
    rows: npt.NDArray[np.int64]

    def values(self, column: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """A column of the table as a map, float64; NaN where there is no pair."""
        values = np.asarray(column, dtype=np.float64)
        found = np.full(self.rows.shape, np.nan)
        there = self.rows >= 0
        found[there] = values[self.rows[there]]
        return found


def layer_maps(table: pa.Table) -> list[PairMap]:
    """Maps of the matrices outside mixtures of experts, one line a layer, in the table's order of roles.

    Matrices that are compared with each other share a map: two of one role in every layer, as with
    cross-attention, give two.
    """
    rows = _numbered(table, experts=False)
    return _titled([_map(group) for group in _connected(rows)])


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


def _connected(rows: Iterable[tuple[int, PairRow]]) -> list[list[tuple[int, PairRow]]]:
    """Rows grouped by the matrices that they join, directly or through others."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    kept = list(rows)
    for _, row in kept:
        parent[root(row["name_y"])] = root(row["name_x"])
    groups: dict[str, list[tuple[int, PairRow]]] = defaultdict(list)
    for index, row in kept:
        groups[root(row["name_x"])].append((index, row))
    return list(groups.values())


def _map(rows: list[tuple[int, PairRow]]) -> PairMap:
    lines = {
        (row[f"layer_{side}"], row[f"expert_{side}"], row[f"name_{side}"]) for _, row in rows for side in "xy"
    }
    ordered = sorted(lines, key=lambda line: (line[0], -1 if line[1] is None else line[1], line[2]))
    place = {name: line for line, (_, _, name) in enumerate(ordered)}
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
