"""Similarities of a run as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lmscope.runs.progress import format_bytes

if TYPE_CHECKING:
    from lmscope.runs.alike_pairs import AlikePlaces
    from lmscope.runs.similarity_summary import (
        ExpertSimilarity,
        RoleContrast,
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
    "half apart",
    "Gini",
    "blocks",
)
EXPERTS_TITLE = "How alike experts are (DOCS), by role"
EXPERT_COLUMNS = ("role", "experts", "within layer", "chance", "next layer", "best in next", "least alike")
TWINS_TITLE = "How alike both checkpoints are (DOCS), by role"
TWIN_COLUMNS = ("role", "twins", "identical", "score", "excess", "lowest", "lowest of")
ALIKE_TITLE = "Most alike pairs (DOCS)"
ALIKE_COLUMNS = ("pair", "roles", "identical", "score", "chance", "matched", "mutual")

CONTRASTS_TITLE = "Contrast (Gini) of the layer-by-layer map under DOCS and other indices"
CONTRAST_COLUMNS = ("role", "layers", "DOCS", "CKA", "CCA", "SVCCA", "regression", "Procrustes")


def tables(summary: SimilaritySummary) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of the tables that the summary fills."""
    for title, columns, rows in (
        (ROLES_TITLE, ROLE_COLUMNS, list(map(role_cells, summary.roles))),
        (ALIKE_TITLE, ALIKE_COLUMNS, [cells for places in summary.alike for cells in alike_cells(places)]),
        (EXPERTS_TITLE, EXPERT_COLUMNS, list(map(expert_cells, summary.experts))),
        (TWINS_TITLE, TWIN_COLUMNS, list(map(twin_cells, summary.twins))),
        (CONTRASTS_TITLE, CONTRAST_COLUMNS, list(map(contrast_cells, summary.contrasts))),
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
        _score(role.far),
        # One pair has no contrast.
        _score(role.gini if role.pairs > 1 else None),
        blocks or "-",
    )


def expert_cells(experts: ExpertSimilarity) -> tuple[str, ...]:
    """A row under `EXPERT_COLUMNS`."""
    loner = f" ({experts.loner_score:.3f})" if experts.loner_score is not None else ""
    return (
        experts.role,
        f"{experts.layers} x {experts.experts}",
        *(_score(v) for v in (experts.within, experts.baseline, experts.same_expert, experts.best_partner)),
        experts.loner + loner or "-",
    )


def alike_cells(places: AlikePlaces) -> Iterator[tuple[str, ...]]:
    """Rows under `ALIKE_COLUMNS`: one for the identical matrices, one for the others."""
    for identical in (True, False):
        pairs = [pair for pair in places.pairs if pair.identical is identical]
        if not pairs:
            continue
        least = min(pairs, key=lambda pair: pair.excess)
        whole = len(pairs) == places.of_roles > 1
        yield (
            place(places),
            f"all {places.of_roles}" if whole else ", ".join(pair.role for pair in pairs),
            "yes" if identical else "no",
            _score(least.score),
            _score(least.baseline),
            _percent(least.matched_share),
            _percent(least.mutual_share),
        )


def place(places: AlikePlaces) -> str:
    """Two layers, or two experts, in words."""
    x, y = places.layer_x, places.layer_y
    if places.expert_x is None:
        return f"layers {x} and {y}"
    if x == y:
        return f"layer {x}, experts {places.expert_x} and {places.expert_y}"
    return f"layer {x}, expert {places.expert_x} and layer {y}, expert {places.expert_y}"


def alike(summary: SimilaritySummary) -> str:
    """One sentence about the most alike pairs that the table leaves out; empty without pairs of layers."""
    if summary.more_alike:
        return f'{summary.more_alike} more pairs stand out: the table "similarity" of the run has all'
    if summary.alike:
        return ""
    if not (summary.roles or summary.experts):
        return "" if summary.twins else "Nothing could be compared."
    return "No two layers or experts stand out as copies of each other."


def twin_cells(twin: TwinSimilarity) -> tuple[str, ...]:
    """A row under `TWIN_COLUMNS`."""
    return (
        twin.role,
        str(twin.twins),
        str(twin.identical),
        _score(twin.score),
        _percent(twin.excess),
        _score(twin.lowest),
        twin.lowest_name if twin.identical < twin.twins else "-",
    )


def contrast_cells(contrast: RoleContrast) -> tuple[str, ...]:
    """A row under `CONTRAST_COLUMNS`."""
    known = [value if contrast.layers > 2 else None for value in contrast.gini.values()]
    return contrast.role, str(contrast.layers), *map(_score, known)


def legend(summary: SimilaritySummary) -> list[tuple[str, str]]:
    """Column -> what it says, for the tables that the summary fills."""
    lines: list[tuple[str, str]] = []
    if summary.roles:
        lines = [
            ("neighbours", "mean score of layers next to each other; 1 for a matrix and itself"),
            ("chance", "score of random directions in these shapes; `baseline` in the records"),
            (
                "null",
                "score with random signs on the coordinates of one side: above chance where coordinates are "
                "uneven, below where vectors of one side are alike; where there is one, trust it",
            ),
            ("excess", "how far the score lies from chance towards 1"),
            ("half apart", "mean score of layers half the depth apart or more"),
            ("Gini", "contrast of the layer-by-layer map: 0 where all pairs score alike"),
            (
                "blocks",
                "runs of layers more alike than layers and distance add up to; uneven drift makes some too",
            ),
        ]
        if any(role.control is not None for role in summary.roles):
            lines.insert(3, ("control", "the same for random Gaussian matrices of these shapes"))
    if summary.alike:
        lines += [
            (
                "most alike pairs",
                "identical, or with more matched vectors than random directions have and far more alike than "
                "other pairs of their kind, or halfway from chance to 1; of several roles the numbers are "
                "those of the least alike",
            ),
            ("matched", "vectors with a partner nearer than all but 1 % of random ones have"),
            ("mutual", "vectors that are each other's nearest"),
        ]
    if summary.experts:
        lines += [
            ("next layer", "mean score of an expert and the same one of the next layer"),
            ("best in next", "mean score of an expert and its nearest one of the next layer"),
            (
                "least alike",
                "the expert whose mean score lies below those of its layer by more than their spread",
            ),
        ]
    if summary.twins:
        lines += [
            ("identical", "pairs of matrices that are equal byte for byte"),
            ("lowest of", "the matrix with the lowest score"),
        ]
    numbered = {one.role for one in summary.roles if one.role.endswith(")")}
    if numbered:
        lines.append(
            (
                ", ".join(sorted(numbered)),
                "the second such matrix of a layer, or one with vectors of another length, as in "
                "cross-attention or a projection in two factors",
            )
        )
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
        f"DOCS: {told['pairs']} pairs in {total:.0f} s: {shares[0]} waiting for reads, {shares[1]} packing, "
        f"{shares[2]} comparing; {told['reads']} reads, {format_bytes(told['read_bytes'])}, at most "
        f"{format_bytes(told['largest_packed_bytes'])} packed"
    )


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
