"""Similarities of a run as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lmscope.runs.progress import format_bytes

if TYPE_CHECKING:
    from lmscope.runs.similarity_summary import (
        ExpertSimilarity,
        RoleSimilarity,
        SimilaritySummary,
        TwinSimilarity,
    )

_MOST_NAMES = 5

ROLES_TITLE = "How alike layers are (DOCS), by role"
ROLE_COLUMNS = (
    "role",
    "layers",
    "neighbours",
    "chance",
    "null",
    "control",
    "excess",
    "far",
    "Gini",
    "blocks",
)
EXPERTS_TITLE = "How alike experts are (DOCS), by role"
EXPERT_COLUMNS = ("role", "experts", "within layer", "chance", "next layer", "best there", "least alike")
TWINS_TITLE = "How alike both checkpoints are (DOCS), by role"
TWIN_COLUMNS = ("role", "twins", "identical", "score", "excess", "lowest", "of")


def tables(summary: SimilaritySummary) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of the tables that the summary fills."""
    for title, columns, rows in (
        (ROLES_TITLE, ROLE_COLUMNS, list(map(role_cells, summary.roles))),
        (EXPERTS_TITLE, EXPERT_COLUMNS, list(map(expert_cells, summary.experts))),
        (TWINS_TITLE, TWIN_COLUMNS, list(map(twin_cells, summary.twins))),
    ):
        if rows:
            yield title, columns, rows


def role_cells(role: RoleSimilarity) -> tuple[str, ...]:
    """A row under `ROLE_COLUMNS`."""
    blocks = ", ".join(f"{block.first_layer}-{block.last_layer}" for block in role.blocks)
    return (
        role.role,
        str(role.layers),
        *(_score(value) for value in (role.neighbours, role.baseline, role.null, role.control)),
        _percent(role.excess),
        *(_score(value) for value in (role.far, role.gini)),
        blocks or "-",
    )


def expert_cells(experts: ExpertSimilarity) -> tuple[str, ...]:
    """A row under `EXPERT_COLUMNS`."""
    loner = f" ({experts.loner_score:.3f})" if experts.loner_score is not None else ""
    return (
        experts.role.replace("_", " "),
        f"{experts.layers} x {experts.experts}",
        *(_score(v) for v in (experts.within, experts.baseline, experts.same_expert, experts.best_partner)),
        experts.loner + loner,
    )


def twin_cells(twin: TwinSimilarity) -> tuple[str, ...]:
    """A row under `TWIN_COLUMNS`."""
    return (
        twin.role.replace("_", " "),
        str(twin.twins),
        str(twin.identical),
        _score(twin.score),
        _percent(twin.excess),
        _score(twin.lowest),
        twin.lowest_name if twin.identical < twin.twins else "-",
    )


def legend(summary: SimilaritySummary) -> list[tuple[str, str]]:
    """Column -> what it says, for the tables that the summary fills."""
    lines: list[tuple[str, str]] = []
    if summary.roles:
        lines = [
            ("neighbours", "mean score of layers next to each other; 1 for a matrix and itself"),
            ("chance", "score of vectors of independent random directions, for these shapes"),
            ("null", "score with random signs on the coordinates of one side: what uneven coordinates do"),
            ("excess", "how far the score lies from chance towards 1"),
            ("far", "mean score of layers half the depth apart or more"),
            ("Gini", "contrast of the layer-by-layer map: 0 where all pairs score alike"),
            (
                "blocks",
                "runs of layers more alike than layers and distance explain; by chance in at most 5 %",
            ),
        ]
        if any(role.control is not None for role in summary.roles):
            lines.insert(3, ("control", "the same for random Gaussian matrices of these shapes"))
    if summary.experts:
        lines += [
            ("next layer", "mean score of an expert and the same one of the next layer"),
            ("best there", "mean score of an expert and its nearest one of the next layer"),
            ("least alike", "the expert with the lowest mean score in its layer"),
        ]
    if summary.twins:
        lines += [
            ("identical", "pairs of matrices that are equal byte for byte"),
            ("of", "whose that score is"),
        ]
    return lines


def zero(summary: SimilaritySummary) -> str:
    """One sentence about matrices without scores; empty where all have them."""
    if not summary.zero:
        return ""
    more = len(summary.zero) - _MOST_NAMES
    names = ", ".join(summary.zero[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    return f"all zero, so without directions to compare: {names}"


def cost(summary: SimilaritySummary) -> str:
    """One sentence about the pass; empty where it found all records."""
    told = summary.cost
    if not told:
        return ""
    total = told["waiting_seconds"] + told["packing_seconds"] + told["comparing_seconds"]
    shares = [
        f"{told[name] / total if total else 0:.0%}"
        for name in ("waiting_seconds", "packing_seconds", "comparing_seconds")
    ]
    return (
        f"{told['pairs']} pairs in {total:.0f} s: {shares[0]} waiting for reads, {shares[1]} packing, "
        f"{shares[2]} comparing; {told['reads']} reads, {format_bytes(told['read_bytes'])}, at most "
        f"{format_bytes(told['largest_packed_bytes'])} packed"
    )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
