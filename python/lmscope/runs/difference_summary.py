"""What moved between two checkpoints, in a few rows: per role, layers and matrices that moved most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from lmscope import html_repr
from lmscope.analyses.difference import FEW_CHANGED, lost_in_part
from lmscope.analyses.moved_matrices import Moved, is_far, moved_matrices, unrelated_matrices
from lmscope.architectures import ROLES
from lmscope.runs import difference_words

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = (
    *("name", "role", "layer", "rows", "columns", "identical", "changed_share", "relative_change"),
    *("changed_rows", "changed_columns", "change_in_spacings", "cosine", "base_norm", "norm", "sv_max"),
    *("rounding_edge", "n_above_rounding", "learnt", "energy_above_rounding", "effective_rank"),
)


@dataclass(frozen=True)
class RoleDifference:
    """All matrices of one role. `relative_change` is the median over those that are not identical, None where
    there are none; `above_rounding` and `learnt` are sums; `moved` counts matrices as
    `DifferenceSummary.moved` does. `score` is the mean DOCS score of the twins that are not identical, 1
    where all are; `scored` have one, those that are all zero have none."""

    role: str
    matrices: int
    identical: int
    moved: int
    relative_change: float | None
    above_rounding: int
    learnt: int
    score: float | None
    scored: int


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
class PartlyChanged:
    """A matrix in which few entries changed: their share, and in how many rows and columns they lie."""

    name: str
    changed_share: float
    changed_rows: int
    rows: int
    changed_columns: int
    columns: int


@dataclass(frozen=True)
class DifferenceSummary:
    """`layers` and `matrices` are those that moved most, by relative change; identical ones are left out.

    `moved` counts matrices that moved by more than rounding explains, and `chance` says why: how many have
    values above the rounding, and how many rounding alone would give. `few_changed` counts those in which
    fewer than half of the entries changed, by about their spacing: the type has lost part of the update.
    `partly` are those in which fewer than half changed, by more. `zero` have no score, as one side is all
    zero; `unrelated` are other matrices in the same place. `unmatched` says in sentences what has no
    counterpart.
    """

    other: str
    rounding: str
    draws: int
    compared: int
    identical: int
    moved: int
    chance: Moved
    few_changed: int
    partly: tuple[PartlyChanged, ...]
    zero: tuple[str, ...]
    unrelated: tuple[str, ...]
    unmatched: tuple[str, ...]
    roles: tuple[RoleDifference, ...]
    layers: tuple[LayerDifference, ...]
    matrices: tuple[MatrixDifference, ...]

    def _repr_html_(self) -> str:
        parts = [html_repr.line(sentence) for sentence in difference_words.sentences(self)]
        for title, columns, rows in difference_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        if self.compared:
            parts += [html_repr.line(f"{name}: {meaning}") for name, meaning in difference_words.legend(self)]
        return html_repr.block("What moved", *parts)


def summarise_difference(
    difference: pyarrow.Table, twins: pyarrow.Table | None, settings: Mapping[str, Any], *, top: int = 5
) -> DifferenceSummary:
    """Reduce the records; `twins` are those of the same two checkpoints."""
    rows = difference.select(list(_COLUMNS)).to_pylist()
    pairs = [] if twins is None else twins.select(["name_x", "score", "excess"]).to_pylist()
    scores = {pair["name_x"]: pair["score"] for pair in pairs if math.isfinite(pair["score"])}
    chance = moved_matrices(rows, settings["draws"])
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
        moved=chance.matrices,
        chance=chance,
        few_changed=sum(lost_in_part(row["changed_share"], row["change_in_spacings"]) for row in changed),
        partly=tuple(
            PartlyChanged(**{field.name: row[field.name] for field in fields(PartlyChanged)})
            for row in changed
            if row["changed_share"] < FEW_CHANGED
            and not lost_in_part(row["changed_share"], row["change_in_spacings"])
        ),
        zero=tuple(pair["name_x"] for pair in pairs if pair["name_x"] not in scores),
        unrelated=tuple(unrelated_matrices(rows, {pair["name_x"]: pair["excess"] for pair in pairs})),
        unmatched=tuple(settings.get("unmatched", ())),
        roles=tuple(_role(role, by_role[role], scores, chance) for role in sorted(by_role, key=_place)),
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


def _role(
    role: str, rows: list[dict[str, Any]], scores: Mapping[str, float], chance: Moved
) -> RoleDifference:
    changes = [row["relative_change"] for row in rows if not row["identical"]]
    known = [change for change in changes if math.isfinite(change)]
    known_scores = [row for row in rows if row["name"] in scores]
    alike = [scores[row["name"]] for row in known_scores if not row["identical"]]
    same = 1.0 if known_scores else None
    return RoleDifference(
        role=role,
        matrices=len(rows),
        identical=sum(row["identical"] for row in rows),
        moved=sum(is_far(row) or (chance.exceeded and row["n_above_rounding"] > 0) for row in rows),
        relative_change=median(known) if known else None,
        above_rounding=_sum(rows, "n_above_rounding"),
        learnt=_sum(rows, "learnt"),
        score=mean(alike) if alike else same,
        scored=len(known_scores),
    )


def _layer(layer: int, rows: list[dict[str, Any]]) -> LayerDifference:
    of_base, of_change = (math.fsum(row[norm] for row in rows) for norm in ("base_norm", "norm"))
    # Squared norms near the end of float64 may be infinite.
    known = of_base > 0 and math.isfinite(of_base) and math.isfinite(of_change)
    return LayerDifference(
        layer=layer,
        matrices=len(rows),
        identical=sum(row["identical"] for row in rows),
        relative_change=math.sqrt(of_change / of_base) if known else None,
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
