"""Scores of slices and the two claims, from the records of vectors, overlaps and lesions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

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


def write_slices(
    folder: RunFolder, store: RecordStore, checkpoints: Sequence[Located], settings: LocalizeSettings
) -> None:
    """Score the slices of every matrix with vectors; a file per checkpoint, written again by every call."""
    vectors, overlaps = _by_checkpoint(folder, "vectors"), _by_checkpoint(folder, "overlap")
    tried, failed = [], {}
    for located in checkpoints:
        identity = located.checkpoint.identity
        overlap_of = {row["name"]: row for row in overlaps.get(identity, [])}
        rows: list[dict[str, Any]] = []
        for row in vectors.get(identity, []):
            tried.append(located.told(row["name"]))
            try:
                rows += _slices(row, overlap_of.get(row["name"]), settings)
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


def _slices(row: Row, overlap: Row | None, settings: LocalizeSettings) -> list[dict[str, Any]]:
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
        slices=settings.slices,
        seed=settings.seed,
    )
    about = ("checkpoint", "identity", "step", "name", "role", "layer", "expert")
    told = (
        *("slice", "slices", "first_rank", "last_rank", "energy_share", *SCORES),
        *("outside", "overlap_excess", "top_share"),
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


def _consistent(slices: Iterable[Row], seed: int) -> list[dict[str, Any]]:
    """How much of the scores' variance over matrices and slices roles and layers explain."""
    from lmscope.analyses.location_claims import variance_explained

    matrices: dict[str, list[Row]] = {}
    for row in slices:
        if row["layer"] is not None:
            matrices.setdefault(row["name"], []).append(row)
    found = []
    for score in SCORES:
        known = [rows for rows in matrices.values() if all(row[score] is not None for row in rows)]
        explained = None
        if known:
            explained = variance_explained(
                np.array([[row[score] for row in rows] for rows in known]),
                [rows[0]["role"] for rows in known],
                [rows[0]["layer"] for rows in known],
                seed=seed,
            )
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
                )
            )
    return found


def _diagnostic(slices: Sequence[Row], lesions: Sequence[Row], seed: int) -> list[dict[str, Any]]:
    """Rank correlations of the scores of weights with overlaps, and with what lesions cost."""
    found = []
    of_lesions = [row for row in lesions if row["kind"] == "lesion" and row["per_energy"] is not None]
    for score in SCORES:
        points = [
            (row["name"], row["slice"], row[score], row["overlap_excess"])
            for row in slices
            if row[score] is not None and row["overlap_excess"] is not None
        ]
        if any(row["overlap_excess"] is not None for row in slices):
            found.append(_correlated(score, "overlap_excess", points, "matrix and slice", seed))
        for kind, point in (("matrix", "matrix and slice"), ("role", "role and slice")):
            own = [row for row in of_lesions if row["target_kind"] == kind]
            means = _means(slices, score, "name" if kind == "matrix" else "role")
            for measure in dict.fromkeys(row["measure"] for row in own):
                points = [
                    (row["target"], row["slice"], means[row["target"], row["slice"]], row["per_energy"])
                    for row in own
                    if row["measure"] == measure and (row["target"], row["slice"]) in means
                ]
                found.append(_correlated(score, f"per_energy: {measure}", points, point, seed))
    return found


def _means(slices: Iterable[Row], score: str, target: str) -> dict[tuple[str, int], float]:
    """Mean score by target and slice."""
    values: dict[tuple[str, int], list[float]] = {}
    for row in slices:
        if row[score] is not None:
            values.setdefault((row[target], row["slice"]), []).append(row[score])
    return {place: float(np.mean(of_place)) for place, of_place in values.items()}


def _correlated(
    score: str, against: str, points: Sequence[tuple[Hashable, int, float, float]], point: str, seed: int
) -> dict[str, Any]:
    from lmscope.analyses.location_claims import rank_correlation

    if not points:
        return _claim("diagnostic", score, against, _CORRELATION, 0, point)
    groups, within, x, y = zip(*points, strict=True)
    found = rank_correlation(x, y, groups=groups, within=within, seed=seed)
    return _claim(
        "diagnostic",
        score,
        against,
        _CORRELATION,
        len(points),
        point,
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
    )


def _agreements(own: Sequence[Row], other: Sequence[Row], label: str, seed: int) -> list[dict[str, Any]]:
    from lmscope.analyses.location_claims import role_agreement

    found = []
    for score in SCORES:
        sides = [[row for row in rows if row[score] is not None] for rows in (own, other)]
        agreement = None
        if all(sides):
            scores_and_roles = [
                labels for rows in sides for labels in ([r[score] for r in rows], [r["role"] for r in rows])
            ]
            agreement = role_agreement(*scores_and_roles, seed=seed)
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
    p_value: float | None = None,
) -> dict[str, Any]:
    return {
        "claim": claim,
        "score": score,
        "against": against,
        "statistic": statistic,
        "value": value,
        "low": low,
        "high": high,
        "p_value": p_value,
        "points": points,
        "point": point,
    }
