"""What moved between two checkpoints as cells of tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmscope.runs.difference_summary import DifferenceSummary

ROLES_TITLE = "What moved, by role"
ROLE_COLUMNS = ("role", "matrices", "identical", "moved", "change", "above rounding", "learnt", "score")
LAYERS_TITLE = "Layers that moved most"
LAYER_COLUMNS = ("layer", "matrices", "identical", "change", "above rounding", "learnt")
MATRICES_TITLE = "Matrices that moved most"
MATRIX_COLUMNS = ("matrix", "change", "entries", "above rounding", "energy", "learnt", "rank")


def sentences(summary: DifferenceSummary) -> list[str]:
    """What holds for all matrices together."""
    if not summary.compared:
        return [
            f"Nothing could be compared with {summary.other}: the ledger gives the reasons.",
            *summary.unmatched,
        ]
    told = [
        f"{_matrices(summary.compared)} compared with {summary.other}: {summary.identical} identical, "
        f"{summary.chance.sentence()}."
    ]
    told += summary.unmatched
    if summary.unrelated:
        told.append(
            f"{len(summary.unrelated)} of them {_have(summary.unrelated)} nothing in common with those in "
            "their place: neither entries nor neurons agree by more than chance (relative change near 1.4, "
            f"scores near chance). This is not a tuning of these matrices: {_listed(summary.unrelated)}."
        )
    if summary.few_changed:
        told.append(
            f"In {summary.few_changed} fewer than half of the entries changed, by about their spacing: the "
            "update was small against the spacing of the stored numbers, and part of it is lost."
        )
    if summary.partly:
        one = max(summary.partly, key=lambda one: one.changed_share)
        told.append(
            f"In {len(summary.partly)} fewer than half of the entries changed, by more than their spacing: "
            f"the others were left alone. In {one.name} {_percent(one.changed_share)} changed, in "
            f"{one.changed_rows} of {one.rows} rows and {one.changed_columns} of {one.columns} columns."
        )
    if summary.zero:
        told.append(f"All zero on one side, so without a score: {_listed(summary.zero)}.")
    return told


def tables(summary: DifferenceSummary) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of the tables that the summary fills."""
    roles: list[tuple[str, ...]] = [
        (
            one.role,
            str(one.matrices),
            str(one.identical),
            str(one.moved),
            _percent(one.relative_change),
            str(one.above_rounding),
            str(one.learnt),
            _score(one.score) + (f" ({one.scored} of {one.matrices})" if one.scored < one.matrices else ""),
        )
        for one in summary.roles
    ]
    layers: list[tuple[str, ...]] = [
        (
            str(one.layer),
            str(one.matrices),
            str(one.identical),
            _percent(one.relative_change),
            str(one.above_rounding),
            str(one.learnt),
        )
        for one in summary.layers
    ]
    matrices: list[tuple[str, ...]] = [
        (
            one.name,
            _percent(one.relative_change),
            _percent(one.changed_share),
            f"{one.above_rounding} of {one.values}",
            _percent(one.energy_above_rounding),
            str(one.learnt),
            f"{one.effective_rank:.1f}",
        )
        for one in summary.matrices
    ]
    every: tuple[tuple[str, tuple[str, ...], list[tuple[str, ...]]], ...] = (
        (ROLES_TITLE, ROLE_COLUMNS, roles),
        (LAYERS_TITLE, LAYER_COLUMNS, layers),
        (MATRICES_TITLE, MATRIX_COLUMNS, matrices),
    )
    yield from (table for table in every if table[2])


def legend(summary: DifferenceSummary) -> list[tuple[str, str]]:
    """Column -> what it says."""
    whose = "both sides" if summary.rounding == "both" else "the tuned side"
    return [
        (
            "moved",
            "matrices with a value above rounding, where there are more of these than rounding gives; else "
            "only those with one above twice the edge",
        ),
        (
            "change",
            "size of the difference over that of the base (Frobenius norms); by role the median of what is "
            "not identical, by layer of all its matrices together",
        ),
        (
            "above rounding",
            f"singular values of the difference above those of random rounding errors of {whose}; a matrix "
            f"of nothing else has one in 1 of {summary.draws + 1} cases; by role and layer the sum",
        ),
        (
            "learnt",
            "singular values of the difference above its own random sign flips; by role and layer the sum",
        ),
        (
            "score",
            "DOCS of both matrices, 1 where every neuron has kept its direction: mean of what is not "
            "identical; in brackets how many have one, where some are all zero or were not compared",
        ),
        *(
            [
                ("entries", "share of the entries that changed at all"),
                ("energy", "share of the squared size that lies in the values above rounding"),
                ("rank", "effective rank of the difference"),
            ]
            if summary.matrices
            else []
        ),
    ]


_MOST_NAMES = 3


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _matrices(count: int) -> str:
    return f"{count} {'matrix' if count == 1 else 'matrices'}"


def _have(of: Sequence[str]) -> str:
    return "has" if len(of) == 1 else "have"


def _percent(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    if 0 < value < 1e-5:
        return f"{100 * value:.0e} %".replace("e-0", "e-")
    return f"{100 * value:.3g} %"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
