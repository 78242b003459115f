"""Lesions by target: the curve over slices of each kind, draws put together."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from dataclasses import dataclass

from lmscope.report.records import Row, place_in_model
from lmscope.report.words import count, plain

KINDS = ("lesion", "random_size", "random_energy")


@dataclass(frozen=True)
class Point:
    """One slice of one kind: the mean over draws, and what all their intervals span (None: there is none)."""

    slice: int
    value: float
    low: float | None
    high: float | None
    rows: tuple[Row, ...]


QUANTITIES = {
    "impact": "Impact",
    "per_energy": "Impact per removed energy",
    "energy": "Removed energy",
}


@dataclass(frozen=True)
class Target:
    """A role in all layers, or one matrix."""

    key: str
    kind: str
    role: str
    layer: int | None
    rows: list[Row]

    @property
    def label(self) -> str:
        return plain(self.role) if self.kind == "role" else self.key

    def curve(self, measure: str, kind: str, quantity: str) -> list[Point]:
        """One point per slice that was measured."""
        by_slice: dict[int, list[Row]] = defaultdict(list)
        for row in self.rows:
            if (row["measure"], row["kind"]) == (measure, kind):
                by_slice[row["slice"]].append(row)
        points = (_point(place, rows, quantity) for place, rows in sorted(by_slice.items()))
        return [point for point in points if point is not None]


def partly(row: Row) -> str:
    """ " (17 of 18 matrices)" where not all could be changed, else nothing."""
    if row["matrices"] == row["of_matrices"]:
        return ""
    return f" ({row['matrices']} of {count(row['of_matrices'], 'matrix', 'matrices')})"


def perplexity(measure: str, value: float | None) -> float | None:
    """Of a causal model's loss in nats per token; None for other measures, and where it is no number."""
    if measure != "loss" or value is None or value > math.log(sys.float_info.max):
        return None
    return math.exp(value)


def targets(rows: list[Row]) -> dict[str, list[Target]]:
    """``roles``, and for every role whose matrices were lesioned alone the role's name: the targets."""
    by_target: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_target[row["target_kind"], row["target"]].append(row)
    found = [
        Target(name, kind, rows[0]["role"], rows[0]["layer"], rows)
        for (kind, name), rows in by_target.items()
    ]
    sets: dict[str, list[Target]] = defaultdict(list)
    for target in sorted(found, key=lambda one: place_in_model({**one.rows[0], "name": one.key})):
        sets["roles" if target.kind == "role" else target.role].append(target)
    ordered = sorted(sets, key=lambda key: key != "roles")
    return {key: sets[key] for key in ordered}


def _point(place: int, rows: list[Row], quantity: str) -> Point | None:
    if quantity == "energy":
        return Point(place, _mean([row["removed_energy"] for row in rows]), None, None, tuple(rows))
    values, lows, highs = (
        [value for row in rows if (value := _value(row, column, quantity)) is not None]
        for column in ("impact", "impact_low", "impact_high")
    )
    if not values:
        return None
    whole = len(lows) == len(highs) == len(values)
    return Point(
        place, _mean(values), min(lows) if whole else None, max(highs) if whole else None, tuple(rows)
    )


def _value(row: Row, column: str, quantity: str) -> float | None:
    value: float | None = row[column]
    if quantity == "impact" or value is None:
        return value
    return value / row["removed_energy"] if row["removed_energy"] else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
