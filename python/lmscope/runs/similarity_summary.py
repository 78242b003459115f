"""What the similarities of a run say, in a few rows: per role, per role with experts, per role of twins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.layer_blocks import layer_blocks
from lmscope.analyses.layer_map import gini
from lmscope.architectures import ROLES
from lmscope.runs import similarity_words
from lmscope.runs.alike_pairs import LEVEL, AlikePlaces, alike_places

if TYPE_CHECKING:
    import pyarrow

    from lmscope.results.layer_maps import PairMap


@dataclass(frozen=True)
class Block:
    """Consecutive layers, both ends included, that are more alike than their distance explains."""

    first_layer: int
    last_layer: int
    gain: float
    p_value: float


@dataclass(frozen=True)
class RoleSimilarity:
    """All layers of one role.

    `neighbours`, `baseline`, `excess` and `null` are means over layers next to each other, of those in the
    checkpoint that have such a matrix; `null` is None without draws, `control` without a control. `far` is
    the mean score of layers half the checkpoint apart or more. Blocks are looked for where no layer between
    others is left out.
    """

    role: str
    layers: int
    pairs: int
    identical: int
    neighbours: float | None
    baseline: float | None
    null: float | None
    control: float | None
    excess: float | None
    far: float | None
    gini: float | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class ExpertSimilarity:
    """Experts of one role: mean scores of pairs within a layer, of the same expert in neighbouring layers,
    and of an expert's best partner in the next layer.

    `loner` is the expert whose mean score in its layer lies lowest, where it lies below those of the others
    by more than their spread explains (Grubbs' test, corrected for the number of experts); else "".
    """

    role: str
    layers: int
    experts: int
    within: float | None
    baseline: float | None
    same_expert: float | None
    best_partner: float | None
    loner: str
    loner_score: float | None


@dataclass(frozen=True)
class TwinSimilarity:
    """Twins of one role in two checkpoints: mean and lowest score, and whose it is."""

    role: str
    twins: int
    identical: int
    score: float | None
    excess: float | None
    lowest: float | None
    lowest_name: str


@dataclass(frozen=True)
class RoleContrast:
    """Gini coefficients of one role's map under DOCS and under the other indices, over the same pairs."""

    role: str
    layers: int
    gini: dict[str, float | None]


@dataclass(frozen=True)
class SimilaritySummary:
    """`cost` is what the last call took for "similarity" or "twins"; empty if it found all records.

    `zero` names the matrices that are all zero and so have no scores. `alike` has the layers and experts that
    stand out as copies, the clearest first, and `more_alike` how many more there are.
    """

    roles: tuple[RoleSimilarity, ...]
    experts: tuple[ExpertSimilarity, ...]
    twins: tuple[TwinSimilarity, ...]
    contrasts: tuple[RoleContrast, ...]
    cost: dict[str, Any]
    zero: tuple[str, ...] = ()
    alike: tuple[AlikePlaces, ...] = ()
    more_alike: int = 0

    def _repr_html_(self) -> str:
        parts: list[str] = []
        for title, columns, rows in similarity_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        parts += [html_repr.line(f"{name}: {meaning}") for name, meaning in similarity_words.legend(self)]
        told = (similarity_words.alike(self), similarity_words.zero(self))
        parts += map(html_repr.line, filter(None, told))
        return html_repr.block("Similarity", *parts)


def summarise_similarity(
    similarity: pyarrow.Table | None,
    control: pyarrow.Table | None,
    twins: pyarrow.Table | None,
    indices: pyarrow.Table | None,
    cost: dict[str, Any],
    *,
    seed: int = 0,
    false_positive_rate: float = 0.01,
    top: int = 10,
) -> SimilaritySummary:
    """Reduce the records of pairs; `seed` is that of the permutations behind the blocks, the rate that of
    matched_share."""
    from lmscope.results.layer_maps import layer_maps

    roles: list[RoleSimilarity] = []
    alike: tuple[tuple[AlikePlaces, ...], int] = ((), 0)
    if similarity is not None:
        ours = layer_maps(similarity)
        alike = alike_places(similarity, ours, false_positive_rate, top=top)
        maps = [] if control is None else layer_maps(control)
        controls = {name: one for one in maps for name in one.names}
        for one in sorted(ours, key=lambda one: _place(one.role)):
            roles.append(_role(one, similarity, controls.get(one.names[0]), control, seed))
    return SimilaritySummary(
        roles=tuple(roles),
        experts=() if similarity is None else tuple(_experts(similarity)),
        twins=() if twins is None else tuple(_twins(twins)),
        contrasts=() if similarity is None or indices is None else tuple(_contrasts(similarity, indices)),
        cost=cost,
        zero=tuple(
            dict.fromkeys([*_zero(similarity, "xy"), *_zero(twins, "x"), *_zero(twins, "y", "twin ")])
        ),
        alike=alike[0],
        more_alike=alike[1],
    )


def _zero(table: pyarrow.Table | None, sides: str, prefix: str = "") -> Iterator[str]:
    """Names of matrices all of whose vectors have norm zero."""
    if table is None:
        return
    columns = [
        "vectors",
        *(f"{of}_{side}" for of in ("name", "rows", "columns", "zero_columns") for side in sides),
    ]
    from pyarrow import compute

    for row in table.filter(compute.not_equal(table.column("warning"), "")).select(columns).to_pylist():
        for side in sides:
            if row[f"zero_columns_{side}"] == row[f"{row['vectors']}_{side}"]:
                yield prefix + row[f"name_{side}"]


def _role(
    one: PairMap,
    table: pyarrow.Table,
    control: PairMap | None,
    controls: pyarrow.Table | None,
    seed: int,
) -> RoleSimilarity:
    scores = one.values(table.column("score"))
    beside = one.at_distance(1, 1)

    def mean_beside(column: str) -> float | None:
        return _mean(_column(table, column)[beside])

    # Of layers that follow each other: between others lies what was not selected.
    blocks = layer_blocks(one.values(table.column("excess")), seed=seed) if one.is_contiguous else []
    there = np.unique(one.rows[one.rows >= 0])
    drawn = None
    if control is not None and controls is not None:
        drawn = _mean(_column(controls, "score")[control.at_distance(1, 1)])
    return RoleSimilarity(
        role=one.numbered_role,
        layers=len(one.layers),
        pairs=len(there),
        identical=int(np.asarray(table.column("identical"))[there].sum()),
        neighbours=mean_beside("score"),
        baseline=mean_beside("baseline"),
        null=mean_beside("null_mean"),
        control=drawn,
        excess=mean_beside("excess"),
        far=_mean(_column(table, "score")[one.at_distance(max(2, one.of_layers // 2))]),
        gini=_finite(gini(scores)),
        blocks=tuple(
            Block(one.layers[block.first], one.layers[block.last], block.gain, block.p_value)
            for block in blocks
        ),
    )


def _experts(table: pyarrow.Table) -> list[ExpertSimilarity]:
    from lmscope.results.layer_maps import expert_maps

    by_role: defaultdict[str, list[PairMap]] = defaultdict(list)
    for one in expert_maps(table):
        by_role[one.role].append(one)
    columns = ["role", "layer_x", "layer_y", "expert_x", "expert_y", "score"]
    best: dict[tuple[str, int, int], float] = {}
    same: defaultdict[str, list[float]] = defaultdict(list)
    for row in table.select(columns).to_pylist():
        if row["expert_x"] is None or row["layer_x"] == row["layer_y"]:
            continue
        key = (row["role"], row["layer_x"], row["expert_x"])
        if not math.isfinite(row["score"]):
            continue
        best[key] = max(best.get(key, 0.0), row["score"])
        if row["expert_x"] == row["expert_y"]:
            same[row["role"]].append(row["score"])
    found: list[ExpertSimilarity] = []
    for role in sorted(by_role, key=_place):
        within, baselines, means = [], [], []
        for one in by_role[role]:
            scores, base = one.values(table.column("score")), one.values(table.column("baseline"))
            upper = np.triu_indices(len(scores), 1)
            within.append(scores[upper])
            baselines.append(base[upper])
            of_layer = {name: _mean(line) for name, line in zip(one.names, scores, strict=True)}
            means.append({name: mean for name, mean in of_layer.items() if mean is not None})
        loner, loner_score = _loner(means)
        found.append(
            ExpertSimilarity(
                role=role,
                layers=len(by_role[role]),
                experts=max(len(one.names) for one in by_role[role]),
                within=_mean(np.concatenate(within)),
                baseline=_mean(np.concatenate(baselines)),
                same_expert=_mean(same[role]),
                best_partner=_mean([score for key, score in best.items() if key[0] == role]),
                loner=loner,
                loner_score=loner_score,
            )
        )
    return found


def _loner(layers: list[dict[str, float]]) -> tuple[str, float | None]:
    """The expert whose mean lies farthest below those of its layer, and its mean; none where chance may do
    that (Grubbs' test, one-sided)."""
    from scipy.special import stdtr

    found: tuple[str, float | None] = "", None
    smallest = LEVEL / max(1, sum(map(len, layers)))
    for means in layers:
        values, n = np.array(list(means.values())), len(means)
        if n < 3 or not np.ptp(values):
            continue
        name = min(means, key=lambda one: (means[one], one))
        deviation = (values.mean() - means[name]) / values.std(ddof=1)
        rest = (n - 1) ** 2 / n - deviation**2
        p_value = float(stdtr(n - 2, -deviation * math.sqrt((n - 2) / rest))) if rest > 0 else 0.0
        if p_value <= smallest:
            smallest, found = p_value, (name, means[name])
    return found


def _twins(table: pyarrow.Table) -> list[TwinSimilarity]:
    by_role: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in table.select(["role", "name_x", "identical", "score", "excess"]).to_pylist():
        by_role[row["role"]].append(row)
    found: list[TwinSimilarity] = []
    for role in sorted(by_role, key=_place):
        rows = by_role[role]
        known = [row for row in rows if math.isfinite(row["score"])]
        lowest = min(known, key=lambda row: row["score"], default=None)
        found.append(
            TwinSimilarity(
                role=role,
                twins=len(rows),
                identical=sum(row["identical"] for row in rows),
                score=_mean([row["score"] for row in known]),
                excess=_mean([row["excess"] for row in known]),
                lowest=lowest["score"] if lowest else None,
                lowest_name=lowest["name_x"] if lowest else "",
            )
        )
    return found


def _contrasts(similarity: pyarrow.Table, indices: pyarrow.Table) -> list[RoleContrast]:
    from lmscope.analyses.representation_indices import INDICES
    from lmscope.results.layer_maps import HEADS, layer_maps

    names = ["name_x", "name_y"]
    both = similarity.select([*HEADS, "score"]).join(
        indices.select([*names, *INDICES]), names, join_type="inner"
    )
    columns = {"docs": "score", **{name: name for name in INDICES}}
    return [
        RoleContrast(
            role=one.numbered_role,
            layers=len(one.layers),
            gini={name: _finite(gini(one.values(both.column(column)))) for name, column in columns.items()},
        )
        for one in sorted(layer_maps(both), key=lambda one: _place(one.role))
    ]


def _column(table: pyarrow.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table.column(name), dtype=np.float64)


def _place(role: str) -> tuple[int, str]:
    return (ROLES.index(role) if role in ROLES else len(ROLES), role)


def _mean(values: Any) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    known = array[np.isfinite(array)]
    return float(known.mean()) if known.size else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
