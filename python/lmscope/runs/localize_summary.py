"""What `localize` found, in a few rows: vectors and overlaps by role, the lesions that harm most, claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.report.lesion_rows import perplexity
from lmscope.report.words import count
from lmscope.runs import localize_words
from lmscope.runs.tokens_summary import Interval

if TYPE_CHECKING:
    import pyarrow

LEVEL = 0.01
"""Of the p-values that are counted."""

_MOST_MATRICES = 5


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        return self.hits / self.of if self.of else None


@dataclass(frozen=True)
class Parts:
    """Of the vectors below the lower Marchenko-Pastur edge, between the edges, above the upper one; and of
    all of the untrained twin's, None without."""

    below: Share
    inside: Share
    above: Share
    untrained: Share | None


@dataclass(frozen=True)
class RoleLocation:
    """All matrices of one role of one checkpoint.

    `right` and `left`: vectors whose Porter-Thomas p-value is below 0.01. `overlaps`: right vectors whose
    overlap is above the null band, None without overlaps; `expected`: the share of random ones that is.
    """

    checkpoint: str
    role: str
    matrices: int
    right: Parts
    left: Parts
    overlaps: Parts | None
    expected: float | None


@dataclass(frozen=True)
class LesionImpact:
    """One slice removed: its impact, and the mean of its controls' (with the interval of a single draw).

    `baseline_perplexity` and `perplexity`, without and with the lesion, of the measure "loss"; else None.
    """

    checkpoint: str
    target: str
    target_kind: str
    measure: str
    unit: str
    slice: int
    slices: int
    matrices: int
    of_matrices: int
    removed_energy: float
    rounding: float | None
    baseline: float
    baseline_perplexity: float | None
    perplexity: float | None
    impact: Interval
    random_size: Interval | None
    random_energy: Interval | None


@dataclass(frozen=True)
class Claim:
    """A row of "claims"."""

    checkpoint: str
    claim: str
    score: str
    against: str
    statistic: str
    value: float | None
    low: float | None
    high: float | None
    shared: float | None
    beyond_low: float | None
    beyond_high: float | None
    p_value: float | None
    points: int
    point: str
    reason: str


@dataclass(frozen=True, repr=False)
class LocalizeSummary:
    """`lesions` holds of every target and measure the smallest slice that was removed and that of the largest
    impact: the largest of several is flattered by the choice. `sentences` and `remarks` are of the
    checkpoint `shown`: of several, the last training step, else the run's own. `failures` has analysis,
    record and reason."""

    roles: tuple[RoleLocation, ...]
    lesions: tuple[LesionImpact, ...]
    claims: tuple[Claim, ...]
    sentences: tuple[str, ...]
    remarks: tuple[str, ...]
    shown: str
    removed: int
    failures: tuple[dict[str, str], ...]

    def __repr__(self) -> str:
        matrices = sum(role.matrices for role in self.roles)
        names = ", ".join(dict.fromkeys(role.checkpoint for role in self.roles))
        return (
            f"<LocalizeSummary: vectors of {count(matrices, 'matrix', 'matrices')} ({names}), "
            f"{count(self.removed, 'removal')}>"
        )

    def _repr_html_(self) -> str:
        parts = [html_repr.line(text) for text in localize_words.sentences(self)]
        for title, columns, rows in localize_words.tables(self):
            parts += [html_repr.line(title), html_repr.table(columns, rows)]
        return html_repr.block("Where information sits", *parts)


def summarise_localize(
    tables: Mapping[str, pyarrow.Table],
    failures: Mapping[str, Mapping[str, str]],
    *,
    sentences: Iterable[str],
    remarks: Iterable[str],
    shown: str,
) -> LocalizeSummary:
    """Reduce the tables; `sentences`, `remarks` and `shown` are the report's."""
    lesions = tables["lesions"].to_pylist()
    removed = {(row["identity"], row["target"], row["slice"], row["kind"], row["draw"]) for row in lesions}
    return LocalizeSummary(
        roles=tuple(_roles(tables["vectors"].to_pylist(), tables["overlap"].to_pylist())),
        lesions=tuple(_lesions(lesions)),
        claims=tuple(
            Claim(**{name: row[name] for name in Claim.__dataclass_fields__})
            for row in tables["claims"].to_pylist()
        ),
        sentences=tuple(sentences),
        remarks=tuple(remarks),
        shown=shown,
        removed=len(removed),
        failures=tuple(
            {"analysis": analysis, "name": name, "reason": reason}
            for analysis, found in failures.items()
            for name, reason in found.items()
        ),
    )


def _roles(vectors: Iterable[Mapping[str, Any]], overlaps: Iterable[Mapping[str, Any]]) -> list[RoleLocation]:
    overlap_of = {(row["identity"], row["name"]): row for row in overlaps}
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in vectors:
        grouped.setdefault((row["identity"], row["role"]), []).append(row)
    found = []
    for (identity, role), rows in grouped.items():
        known = [row for row in rows if (identity, row["name"]) in overlap_of]
        own = [(row, overlap_of[identity, row["name"]]) for row in known]
        found.append(
            RoleLocation(
                checkpoint=rows[0]["checkpoint"],
                role=role,
                matrices=len(rows),
                right=_parts([(row, *_small(row, "right")) for row in rows]),
                left=_parts([(row, *_small(row, "left")) for row in rows]),
                overlaps=_parts([(row, *_raised(overlap)) for row, overlap in own]) if own else None,
                expected=own[0][1]["false_positive_rate"] / 2 if own else None,
            )
        )
    return found


Flags = npt.NDArray[np.bool_]


def _small(row: Mapping[str, Any], side: str) -> tuple[Flags, Flags | None]:
    twin = row[f"untrained_p_{side}"]
    return np.array(row[f"p_{side}"]) < LEVEL, None if twin is None else np.array(twin) < LEVEL


def _raised(row: Mapping[str, Any]) -> tuple[Flags, Flags | None]:
    twin = row["untrained_overlap"]
    return (
        np.array(row["overlap"]) > row["null_high"],
        None if twin is None else np.array(twin) > row["null_high"],
    )


def _parts(flagged: Sequence[tuple[Mapping[str, Any], Flags, Flags | None]]) -> Parts:
    """Matrices without a Marchenko-Pastur verdict are all inside, as nothing is known to be outside."""
    hits, of = np.zeros(3, int), np.zeros(3, int)
    for row, flags, _ in flagged:
        upper, lower = row["n_above"] or 0, row["n_below"] or 0
        parts = np.split(flags, [upper, len(flags) - lower])[::-1]
        hits += [int(part.sum()) for part in parts]
        of += [len(part) for part in parts]
    twins = [twin for _, _, twin in flagged if twin is not None]
    below, inside, above = (Share(int(hit), int(all_of)) for hit, all_of in zip(hits, of, strict=True))
    untrained = Share(sum(int(twin.sum()) for twin in twins), sum(map(len, twins))) if twins else None
    return Parts(below, inside, above, untrained)


def _lesions(rows: Iterable[Mapping[str, Any]]) -> list[LesionImpact]:
    grouped: dict[tuple[str, str, str, str], dict[tuple[int, str], list[Mapping[str, Any]]]] = {}
    for row in rows:
        key = (row["identity"], row["target_kind"], row["target"], row["measure"])
        grouped.setdefault(key, {}).setdefault((row["slice"], row["kind"]), []).append(row)
    of_roles, alone = [], []
    for (_, kind, _, _), by_slice in grouped.items():
        told = [
            _impact(of_slice[0], by_slice)
            for (_, removal), of_slice in by_slice.items()
            if removal == "lesion"
        ]
        if not told:
            continue
        smallest, largest = min(told, key=lambda one: one.slice), max(told, key=lambda one: one.impact.mean)
        if kind == "role":
            of_roles += [smallest] if smallest is largest else [smallest, largest]
        else:
            alone.append(largest)
    alone.sort(key=lambda one: -one.impact.mean)
    for measure in dict.fromkeys(one.measure for one in alone):
        of_roles += [one for one in alone if one.measure == measure][:_MOST_MATRICES]
    return of_roles


def _impact(
    row: Mapping[str, Any], by_slice: Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]
) -> LesionImpact:
    names = (
        *("checkpoint", "target", "target_kind", "measure", "unit", "slice", "slices"),
        *("matrices", "of_matrices", "removed_energy", "rounding", "baseline"),
    )
    return LesionImpact(
        **{name: row[name] for name in names},
        baseline_perplexity=perplexity(row["measure"], row["baseline"]),
        perplexity=perplexity(row["measure"], row["value"]),
        impact=Interval(row["impact"], row["impact_low"], row["impact_high"]),
        random_size=_mean(by_slice.get((row["slice"], "random_size"), ())),
        random_energy=_mean(by_slice.get((row["slice"], "random_energy"), ())),
    )


def _mean(draws: Sequence[Mapping[str, Any]]) -> Interval | None:
    if not draws:
        return None
    if len(draws) == 1:
        return Interval(draws[0]["impact"], draws[0]["impact_low"], draws[0]["impact_high"])
    return Interval(float(np.mean([draw["impact"] for draw in draws])), None, None)
