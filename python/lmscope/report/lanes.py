"""Matrices in groups: roles as lanes of a chart, layers in a choice."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, TypeVar

from lmscope.report.records import Row, role_place
from lmscope.report.words import plain

Index = TypeVar("Index")


def in_lanes(
    matrices: Iterable[tuple[Index, Row]], *, experts_apart: bool
) -> dict[str, dict[int, list[tuple[Index, Row]]]]:
    """Lane -> layer -> matrices, lanes in the order of the roles.

    Two of one role in one layer, as with cross-attention, get a lane each.
    With ``experts_apart`` each expert has a lane; without, experts of one role share theirs.
    """
    lanes: dict[str, dict[int, list[tuple[Index, Row]]]] = {}
    order: dict[str, tuple[Any, ...]] = {}
    times: dict[tuple[Any, ...], int] = {}
    for index, row in matrices:
        place = (row["role"], row["expert"], row["layer"])
        again = times[place] = times.get(place, 0) + 1
        lane = plain(row["role"])
        if experts_apart and row["expert"] is not None:
            lane += f" · expert {row['expert']}"
        if again > 1:
            lane += f" ({again})"
        order.setdefault(lane, (role_place(row["role"]), row["expert"] or 0, again))
        lanes.setdefault(lane, {}).setdefault(row["layer"], []).append((index, row))
    return {lane: lanes[lane] for lane in sorted(order, key=lambda lane: order[lane])}


def by_layer(rows: Iterable[tuple[Index, Row]]) -> list[tuple[str, list[tuple[Index, Row]]]]:
    """Matrices as they come, those of a layer that follow each other under its name."""

    def layer(pair: tuple[Index, Row]) -> str:
        return "Without a layer" if pair[1]["layer"] is None else f"Layer {pair[1]['layer']}"

    return [(name, list(some)) for name, some in groupby(rows, key=layer)]
