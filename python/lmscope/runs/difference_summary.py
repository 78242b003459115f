"""What moved between two checkpoints, in a few rows: per role, layers and matrices that moved most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from lmscope import html_repr
from lmscope.architectures import ROLES
from lmscope.runs import difference_words

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = (
    *("name", "role", "layer", "rows", "columns", "identical", "changed_share", "relative_change"),
    *("base_norm", "norm", "n_above_rounding", "learnt", "energy_above_rounding", "effective_rank"),
)


@dataclass(frozen=True)
class RoleDifference:
    """All matrices of one role. `relative_change` is the median over those that are not identical, None where
    there are none; `above_rounding` and `learnt` are sums, `moved` counts matrices with a value above the
    rounding; `score` is the mean DOCS score of the twins."""

    role: str
    matrices: int
    identical: int
    moved: int
    relative_change: float | None
    above_rounding: int
    learnt: int
    score: float | None


@dataclass(frozen=True)
class LayerDifference:
    """All matrices of one layer; `relative_change` is that of all their entries together."""

    layer: int
    matrices: int
    identical: int
    relative_change: float | None
    above_rounding: int
    learnt: int


@dataclass(frozen=True)
class MatrixDifference:
    """One matrix; `values` is how many singular values its difference has."""

    name: str
    relative_change: float
    changed_share: float
    values: int
    above_rounding: int
    energy_above_rounding: float
    learnt: int
    effective_rank: float
    score: float | None


@dataclass(frozen=True)
class DifferenceSummary:
    """`layers` and `matrices` are those that moved most, by relative change; identical ones are left out.

    `few_changed` counts matrices in which fewer than half of the entries changed, but some did: the storage
    type has lost part of their update.
    """

    other: str
    rounding: str
    draws: int
    compared: int
    identical: int
    moved: int
    few_changed: int
    roles: tuple[RoleDifference, ...]
    layers: tuple[LayerDifference, ...]
    matrices: tuple[MatrixDifference, ...]

    def _repr_html_(self) -> str:
        parts = [html_repr.line(sentence) for sentence in difference_words.sentences(self)]
        for title, columns, rows in difference_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        parts += [html_repr.line(f"{name}: {meaning}") for name, meaning in difference_words.legend(self)]
        return html_repr.block("What moved", *parts)


def summarise_difference(
    difference: pyarrow.Table, twins: pyarrow.Table | None, settings: Mapping[str, Any], *, top: int = 5
) -> DifferenceSummary:
    """Reduce the records; `twins` are those of the same two checkpoints."""
    rows = difference.select(list(_COLUMNS)).to_pylist()
    scores: dict[str, float] = {}
    if twins is not None:
        names, values = twins.column("name_x").to_pylist(), twins.column("score").to_pylist()
        scores = {name: score for name, score in zip(names, values, strict=True) if math.isfinite(score)}
    by_role: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    by_layer: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_role[row["role"]].append(row)
        if row["layer"] is not None:
            by_layer[row["layer"]].append(row)
    changed = [row for row in rows if not row["identical"]]
    layers = [_layer(layer, of) for layer, of in sorted(by_layer.items())]
    return DifferenceSummary(
        other=settings["other_name"],
        rounding=settings["rounding"],
        draws=settings["draws"],
        compared=len(rows),
        identical=len(rows) - len(changed),
        moved=sum(row["n_above_rounding"] > 0 for row in rows),
        few_changed=sum(row["changed_share"] < 0.5 for row in changed),
        roles=tuple(_role(role, by_role[role], scores) for role in sorted(by_role, key=_place)),
        layers=tuple(
            sorted(
                (one for one in layers if one.identical < one.matrices),
                key=lambda one: -(one.relative_change or 0),
            )[:top]
        ),
        matrices=tuple(
            _matrix(row, scores.get(row["name"]))
            for row in sorted(changed, key=lambda row: -_known(row["relative_change"]))[:top]
        ),
    )


def _role(role: str, rows: list[dict[str, Any]], scores: Mapping[str, float]) -> RoleDifference:
    changes = [row["relative_change"] for row in rows if not row["identical"]]
    known = [change for change in changes if math.isfinite(change)]
    alike = [scores[row["name"]] for row in rows if row["name"] in scores]
    return RoleDifference(
        role=role,
        matrices=len(rows),
        identical=sum(row["identical"] for row in rows),
        moved=sum(row["n_above_rounding"] > 0 for row in rows),
        relative_change=median(known) if known else None,
        above_rounding=_sum(rows, "n_above_rounding"),
        learnt=_sum(rows, "learnt"),
        score=mean(alike) if alike else None,
    )


def _layer(layer: int, rows: list[dict[str, Any]]) -> LayerDifference:
    of_base = math.fsum(row["base_norm"] for row in rows)
    return LayerDifference(
        layer=layer,
        matrices=len(rows),
        identical=sum(row["identical"] for row in rows),
        relative_change=math.sqrt(math.fsum(row["norm"] for row in rows) / of_base) if of_base else None,
        above_rounding=_sum(rows, "n_above_rounding"),
        learnt=_sum(rows, "learnt"),
    )


def _matrix(row: dict[str, Any], score: float | None) -> MatrixDifference:
    return MatrixDifference(
        name=row["name"],
        relative_change=row["relative_change"],
        changed_share=row["changed_share"],
        values=min(row["rows"], row["columns"]),
        above_rounding=row["n_above_rounding"],
        energy_above_rounding=row["energy_above_rounding"],
        learnt=row["learnt"],
        effective_rank=row["effective_rank"],
        score=score,
    )


def _sum(rows: Iterable[Mapping[str, Any]], column: str) -> int:
    return sum(row[column] for row in rows)


def _known(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _place(role: str) -> tuple[int, str]:
    return (ROLES.index(role) if role in ROLES else len(ROLES), role)
