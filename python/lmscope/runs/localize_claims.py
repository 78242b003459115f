"""Scores of slices and the two claims, from the records of vectors, overlaps and lesions."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmscope.runs.localize_settings import LocalizeSettings
from lmscope.runs.located import Located
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of

if TYPE_CHECKING:
    from lmscope.analyses.slices import SliceScore
    from lmscope.results import RunFolder

Row = Mapping[str, Any]

SCORES = ("vector_deviation", "value_deviation")
_SHARE, _CORRELATION = "share of variance", "rank correlation"
_DRAWS_PER_MATRIX = 30
"""Of noise, for each matrix of a role: the error they share moves the rate of a test at 5 % by 1 % then."""
_NO_SCORES = "no slice has both scores"
_LEAST_ROLES = 5
"""What an interval over roles takes."""


def write_slices(
    folder: RunFolder, store: RecordStore, checkpoints: Sequence[Located], settings: LocalizeSettings
) -> None:
    """Score the slices of every matrix with vectors; a file per checkpoint, written again by every call."""
    vectors, overlaps = _by_checkpoint(folder, "vectors"), _by_checkpoint(folder, "overlap")
    tried, failed = [], {}
    for number, located in enumerate(checkpoints):
        # The first is held against the others: one error of the noise's mean in both would make them agree.
        seed = settings.seed + min(number, 1)
        identity = located.checkpoint.identity
        overlap_of = {row["name"]: row for row in overlaps.get(identity, [])}
        rows: list[dict[str, Any]] = []
        for row in vectors.get(identity, []):
            tried.append(located.told(row["name"]))
            try:
                rows += _slices(row, overlap_of.get(row["name"]), settings.slices, seed)
            except ValueError as error:
                failed[tried[-1]] = reason_of(error)
        store.write("slices", identity, rows)
    store.settle("slices", tried, failed)


def write_claims(
    folder: RunFolder, store: RecordStore, checkpoints: Sequence[Located], settings: LocalizeSettings
) -> None:
    """Test both claims on every checkpoint, and hold the first one's roles against every other's."""
    slices, lesions = _by_checkpoint(folder, "slices"), _by_checkpoint(folder, "lesions")
    first = checkpoints[0]
    for located in checkpoints:
        identity = located.checkpoint.identity
        own = slices.get(identity, [])
        rows = _consistent(own, settings.seed) + _diagnostic(own, lesions.get(identity, []), settings.seed)
        if located is first:
            for other in checkpoints[1:]:
                rows += _agreements(
                    own, slices.get(other.checkpoint.identity, []), other.label, settings.seed
                )
        store.write("claims", identity, [{**located.about, **row} for row in rows])


def _by_checkpoint(folder: RunFolder, table: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in folder.rows(table).to_pylist():
        found.setdefault(row["identity"], []).append(row)
    return found


def _slices(row: Row, overlap: Row | None, slices: int, seed: int) -> list[dict[str, Any]]:
    from lmscope.analyses.slices import slice_scores

    of_overlap = () if overlap is None else ("overlap", "null_location", "top_share")
    scores = slice_scores(
        row["singular_values"],
        (row["rows"], row["columns"]),
        scale=row["scale"],
        lower_edge=row["lower_edge"],
        upper_edge=row["upper_edge"],
        deviation_right=row["deviation_right"],
        deviation_left=row["deviation_left"],
        **{name: (overlap or {})[name] for name in of_overlap},
        slices=slices,
        seed=seed,
    )
    about = ("checkpoint", "identity", "step", "name", "role", "layer", "expert")
    told = (
        *("slice", "slices", "first_rank", "last_rank", "energy_share", *SCORES),
        *("value_noise_sd", "value_noise_draws", "outside", "overlap_excess", "top_share"),
    )
    return [
        {
            **{name: row[name] for name in about},
            **{name: getattr(score, name) for name in told},
            "principal": None if overlap is None else _principal(score, overlap["top"]),
        }
        for score in scores
    ]


def _principal(score: SliceScore, top: int) -> float | None:
    """Squared cosines of two orthonormal bases add up to the shares of the one's vectors in the other."""
    size = score.last_rank - score.first_rank + 1
    return None if score.top_share is None else score.top_share * size / min(size, top)


def _against_noise(row: Row, score: str) -> float | None:
    """The score in a unit in which noise has the same spread in every slice of every shape."""
    if row[score] is None or score != "value_deviation":
        return row[score]  # type: ignore[no-any-return]
    deviation: float = row[score] / row["value_noise_sd"]
    return deviation


def _too_few_draws(slices: Iterable[Row], score: str) -> str:
    """Why roles are not compared, or ""."""
    if score != "value_deviation":
        return ""
    matrices: dict[tuple[str, int], set[str]] = {}
    for row in slices:
        if row["value_noise_draws"] is not None:
            matrices.setdefault((row["role"], row["value_noise_draws"]), set()).add(row["name"])
    for (role, draws), names in matrices.items():
        if draws < _DRAWS_PER_MATRIX * len(names):
            return (
                f"the noise of the {len(names)} matrices of role {role} is known from {draws} draws, and a "
                f"comparison of roles takes {_DRAWS_PER_MATRIX} for each matrix"
            )
    return ""


def _consistent(slices: Iterable[Row], seed: int) -> list[dict[str, Any]]:
    """How much of the scores' variance over matrices and slices roles and layers explain."""
    from lmscope.analyses.variance_explained import variance_explained

    matrices: dict[str, list[Row]] = {}
    for row in slices:
        if row["layer"] is not None:
            matrices.setdefault(row["name"], []).append(row)
    found = []
    for score in SCORES:
        known = [rows for rows in matrices.values() if all(row[score] is not None for row in rows)]
        explained = None
        reason = _too_few_draws(itertools.chain(*known), score) if known else "no matrix has this score"
        if not reason:
            explained = variance_explained(
                np.array([[_against_noise(row, score) for row in rows] for rows in known]),
                [rows[0]["role"] for rows in known],
                [rows[0]["layer"] for rows in known],
                seed=seed,
            )
            reason = explained.refused
        for against in ("role", "layer"):
            found.append(
                _claim(
                    "consistent",
                    score,
                    against,
                    _SHARE,
                    len(known),
                    "matrix",
                    value=None if explained is None else getattr(explained, against),
                    p_value=None if explained is None else getattr(explained, f"{against}_p_value"),
                    reason=reason,
                )
            )
    return found


class _Point(NamedTuple):
    """A slice of a matrix, or of a role (`place` is then empty)."""

    name: str
    role: str
    place: tuple[int | None, ...]
    slice: int
    x: float
    y: float


def _diagnostic(slices: Sequence[Row], lesions: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Rank correlations of the scores of weights with overlaps, and with what lesions cost."""
    found = []
    of_lesions = [row for row in lesions if row["kind"] == "lesion" and row["per_energy"] is not None]
    for score in SCORES:
        if any(row["overlap_excess"] is not None for row in slices):
            points = [
                _Point(row["name"], row["role"], _place(row), row["slice"], row[score], row["overlap_excess"])
                for row in slices
                if row[score] is not None and row["overlap_excess"] is not None
            ]
            found += _of_matrices(score, "overlap_excess", points, seed)
        for kind in ("matrix", "role"):
            own = [row for row in of_lesions if row["target_kind"] == kind]
            means = _means(slices, score, "name" if kind == "matrix" else "role")
            for measure in dict.fromkeys(row["measure"] for row in own):
                points = [
                    _Point(
                        row["target"],
                        row["role"],
                        _place(row) if kind == "matrix" else (),
                        row["slice"],
                        means[row["target"], row["slice"]],
                        row["per_energy"],
                    )
                    for row in own
                    if row["measure"] == measure and (row["target"], row["slice"]) in means
                ]
                against = f"per_energy: {measure}"
                if kind == "matrix":
                    found += _of_matrices(score, against, points, seed)
                else:
                    found.append(_of_roles(score, against, points, "role and slice", seed))
    return found


def _place(row: Row) -> tuple[int | None, ...]:
    return row["layer"], row["expert"]


def _of_matrices(score: str, against: str, points: Sequence[_Point], seed: int) -> list[dict[str, Any]]:
    """The claim, over roles, and what matrices say within their roles, whose matrices are no independent
    points: a description."""
    return [
        _of_roles(score, against, points, "matrix and slice", seed),
        _correlated(
            "beyond_roles",
            score,
            against,
            points,
            "matrix and slice",
            groups=[point.name for point in points],
            within=[(point.role, point.slice) for point in points],
            seed=seed,
        ),
    ]


def _of_roles(score: str, against: str, points: Sequence[_Point], point: str, seed: int) -> dict[str, Any]:
    """Roles are what can be exchanged: profiles of a role make its matrices alike. Each is taken at the cells
    of layer, expert and slice that all of them have."""
    cells: dict[str, set[Hashable]] = {}
    for one in points:
        cells.setdefault(one.role, set()).add((one.place, one.slice))
    # Roles in few layers would take the cells from the others: those with most cells that leave most points.
    roles = sorted(cells, key=lambda role: -len(cells[role]))
    counts = range(min(len(roles), _LEAST_ROLES), len(roles) + 1)
    taken = max(counts, key=lambda many: many * len(_common(cells, roles[:many])))
    common = _common(cells, roles[:taken])
    kept = [one for one in points if one.role in roles[:taken] and (one.place, one.slice) in common]
    return _correlated(
        "diagnostic",
        score,
        against,
        kept,
        point,
        groups=[one.role for one in kept],
        within=[(one.place, one.slice) for one in kept],
        seed=seed,
    )


def _common(cells: Mapping[str, set[Hashable]], roles: Sequence[str]) -> set[Hashable]:
    return set.intersection(*(cells[role] for role in roles)) if roles else set()


def _means(slices: Iterable[Row], score: str, target: str) -> dict[tuple[str, int], float]:
    """Mean score by target and slice."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in slices:
        if row[score] is not None:
            values.setdefault((row[target], row["slice"]), []).append(row[score])
    return {place: float(np.mean(of_place)) for place, of_place in values.items()}


def _correlated(
    claim: str,
    score: str,
    against: str,
    points: Sequence[_Point],
    point: str,
    *,
    groups: Sequence[Hashable],
    within: Sequence[Hashable],
    seed: int,
) -> dict[str, Any]:
    from lmscope.analyses.rank_correlation import rank_correlation

    if not points:
        return _claim(claim, score, against, _CORRELATION, 0, point, reason=_NO_SCORES)
    found = rank_correlation(
        [one.x for one in points], [one.y for one in points], groups=groups, within=within, seed=seed
    )
    return _claim(
        claim,
        score,
        against,
        _CORRELATION,
        len(points),
        point,
        value=found.value,
        low=found.low,
        high=found.high,
        shared=found.shared,
        beyond_low=found.beyond_low,
        beyond_high=found.beyond_high,
        p_value=found.p_value,
        reason=found.refused,
    )


def _agreements(own: Sequence[Row], other: Sequence[Row], label: str, seed: int) -> list[dict[str, Any]]:
    from lmscope.analyses.role_agreement import role_agreement

    found = []
    for score in SCORES:
        sides = [[row for row in rows if row[score] is not None] for rows in (own, other)]
        agreement = None
        reason = "" if all(sides) else "a model has no matrix with this score"
        reason = reason or _too_few_draws(sides[0], score) or _too_few_draws(sides[1], score)
        if not reason:
            scores_and_roles: list[Any] = [
                labels
                for rows in sides
                for labels in ([_against_noise(row, score) for row in rows], [row["role"] for row in rows])
            ]
            agreement = role_agreement(*scores_and_roles, seed=seed)
            reason = agreement.refused
        found.append(
            _claim(
                "same_in_both",
                score,
                label,
                _CORRELATION,
                0 if agreement is None else len(agreement.roles),
                "role",
                value=None if agreement is None else agreement.value,
                p_value=None if agreement is None else agreement.p_value,
                reason=reason,
            )
        )
    return found


def _claim(
    claim: str,
    score: str,
    against: str,
    statistic: str,
    points: int,
    point: str,
    *,
    value: float | None = None,
    low: float | None = None,
    high: float | None = None,
    shared: float | None = None,
    beyond_low: float | None = None,
    beyond_high: float | None = None,
    p_value: float | None = None,
    reason: str = "",
) -> dict[str, Any]:
    return {
        "claim": claim,
        "score": score,
        "against": against,
        "statistic": statistic,
        "value": value,
        "low": low,
        "high": high,
        "shared": shared,
        "beyond_low": beyond_low,
        "beyond_high": beyond_high,
        "p_value": p_value,
        "points": points,
        "point": point,
        "reason": reason,
    }
