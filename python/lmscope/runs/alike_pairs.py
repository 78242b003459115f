"""Which layers and experts are copies of each other: the pairs that stand out, by place."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope.architectures import ROLES

if TYPE_CHECKING:
    import pyarrow

    from lmscope.results.layer_maps import PairMap

Floats = npt.NDArray[np.float64]

LEVEL = 0.01
"""Probability that any pair of random directions has as many matched vectors as a pair that stands out."""
FENCE = 5.0
HALFWAY = 0.5

_FEWEST_OTHERS = 5
_MAD_OF_NORMAL = 1.4826


@dataclass(frozen=True)
class AlikePair:
    """Two matrices of one role; `matched_share` and the others as in the table "similarity"."""

    role: str
    identical: bool
    score: float
    baseline: float
    excess: float
    matched_share: float
    mutual_share: float


@dataclass(frozen=True)
class AlikePlaces:
    """Two layers or two experts, and their pairs of matrices that stand out, of `of_roles` pairs."""

    layer_x: int
    layer_y: int
    expert_x: int | None
    expert_y: int | None
    of_roles: int
    pairs: tuple[AlikePair, ...]


def alike_places(
    table: pyarrow.Table, maps: list[PairMap], false_positive_rate: float, *, top: int
) -> tuple[tuple[AlikePlaces, ...], int]:
    """The `top` places with pairs that stand out, most identical matrices and then largest excess first, and
    how many more there are; `maps` are the table's `layer_maps`.

    A pair stands out if it is identical, or if more of its vectors are matched than in random directions
    (binomial, corrected for the number of pairs) and either its excess is `HALFWAY` or more, or its excess or
    matched_share lies `FENCE` robust deviations above the median of the pairs like it: of one role, both
    layers next to each other or both not, experts of one layer or of two.
    """
    number = {
        name: np.asarray(table.column(name).fill_null(-1))
        for name in (
            "layer_x",
            "layer_y",
            "expert_x",
            "expert_y",
            "position_x",
            "position_y",
            "depth",
            "series",
        )
    }
    value = {
        name: np.asarray(table.column(name), dtype=np.float64)
        for name in ("score", "baseline", "excess", "matched_share", "mutual_share")
    }
    roles = np.array(table.column("role").to_pylist(), dtype=object)
    titles = roles.copy()
    for one in maps:
        titles[one.rows[one.rows >= 0]] = one.numbered_role
    identical = np.asarray(table.column("identical"), dtype=bool)
    beside = np.abs(number["position_x"] - number["position_y"])
    # Farther than neighbours is one kind; experts are never farther.
    kind = np.stack(
        [
            np.unique(titles, return_inverse=True)[1],
            number["depth"],
            number["series"],
            number["expert_x"] >= 0,
            np.minimum(beside, 2),
        ]
    )
    known = np.isfinite(value["score"])
    others = known & ~identical
    above = np.zeros(len(known), dtype=bool)
    for alike in _groups(kind, others):
        for column in ("excess", "matched_share"):
            above[alike] |= value[column][alike] > _fence(value[column][alike])
    above |= value["excess"] >= HALFWAY
    chosen = (identical & known) | (others & above & _many_matched(table, value, others, false_positive_rate))
    place = np.stack([number[f"{of}_{side}"] for of in ("layer", "expert") for side in "xy"])
    found: defaultdict[tuple[int, ...], list[AlikePair]] = defaultdict(list)
    in_order = sorted(np.flatnonzero(chosen), key=lambda index: (ROLES.index(roles[index]), titles[index]))
    for index in in_order:
        numbers = {name: float(column[index]) for name, column in value.items()}
        pair = AlikePair(role=titles[index], identical=bool(identical[index]), **numbers)
        found[tuple(place[:, index].tolist())].append(pair)
    order = sorted(found, key=lambda where: (*_rank(found[where]), where))
    return (
        tuple(
            AlikePlaces(
                layer_x=where[0],
                layer_y=where[1],
                expert_x=None if where[2] < 0 else where[2],
                expert_y=None if where[3] < 0 else where[3],
                of_roles=int(np.count_nonzero((place == np.array(where)[:, None]).all(axis=0))),
                pairs=tuple(found[where]),
            )
            for where in order[:top]
        ),
        max(0, len(order) - top),
    )


def _groups(kind: npt.NDArray[np.int64], among: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.int64]]:
    """Indices `among` all, by equal columns of `kind`."""
    rows = np.flatnonzero(among)
    if not rows.size:
        return []
    group = np.unique(kind[:, rows], axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1)


def _fence(values: Floats) -> float:
    """Infinite where too few values tell what is usual."""
    if len(values) <= _FEWEST_OTHERS:
        return np.inf
    middle = float(np.median(values))
    return middle + FENCE * _MAD_OF_NORMAL * float(np.median(np.abs(values - middle)))


def _many_matched(
    table: pyarrow.Table, value: dict[str, Floats], others: npt.NDArray[np.bool_], rate: float
) -> npt.NDArray[np.bool_]:
    from scipy.special import bdtrc

    by_rows = np.array(table.column("vectors").to_pylist()) == "rows"
    sides = [
        np.where(
            by_rows, np.asarray(table.column(f"rows_{side}")), np.asarray(table.column(f"columns_{side}"))
        )
        - np.asarray(table.column(f"zero_columns_{side}"))
        for side in "xy"
    ]
    # Two vectors that are each other's nearest are matched or not together: one side counts.
    vectors = np.minimum(*sides)
    matched = np.floor(np.where(others, value["matched_share"], 0.0) * vectors)
    p_value = np.where(matched > 0, bdtrc(matched - 1, np.maximum(vectors, 1), rate), 1.0)
    found: npt.NDArray[np.bool_] = p_value * max(1, np.count_nonzero(others)) <= LEVEL
    return found


def _rank(pairs: list[AlikePair]) -> tuple[int, float]:
    return -sum(pair.identical for pair in pairs), -max(pair.excess for pair in pairs)
