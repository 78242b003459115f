"""What moved between two checkpoints as cells of tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    told = [
        f"{summary.compared} matrices compared with {summary.other}: {summary.identical} identical, "
        f"{summary.moved} moved by more than rounding explains."
    ]
    if summary.few_changed:
        told.append(
            f"In {summary.few_changed} fewer than half of the entries changed: the update was small against "
            "the spacing of the stored numbers, and part of it is lost."
        )
    return told


def tables(summary: DifferenceSummary) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of the tables that the summary fills."""
    roles: list[tuple[str, ...]] = [
        (
            one.role.replace("_", " "),
            str(one.matrices),
            str(one.identical),
            str(one.moved),
            _percent(one.relative_change),
            str(one.above_rounding),
            str(one.learnt),
            _score(one.score),
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
        ("moved", "matrices with at least one value above rounding"),
        (
            "change",
            "size of the difference over that of the base (Frobenius norms); by role the median of what is "
            "not identical",
        ),
        (
            "above rounding",
            f"singular values of the difference above those of random rounding errors of {whose}; a matrix "
            f"of nothing else has one in 1 of {summary.draws + 1} cases",
        ),
        ("learnt", "singular values of the difference above its own random sign flips"),
        ("score", "DOCS of both matrices: 1 where every neuron has kept its direction"),
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


def _percent(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    if 0 < value < 1e-5:
        return f"{100 * value:.0e} %".replace("e-0", "e-")
    return f"{100 * value:.3g} %"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
