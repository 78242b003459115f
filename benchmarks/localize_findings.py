"""What evidence_localize_real.py keeps of a run of `lmscope localize`: plain functions of its records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import lmscope

Row = Mapping[str, Any]
Found = dict[str, Any]

SMALL_P = 0.01
SCORES = ("vector_deviation", "value_deviation")


def vectors(rows: Iterable[Row]) -> dict[str, Found]:
    """By role: singular vectors with p-values below .01, right and left, among those below the
    Marchenko-Pastur edge, inside, and above, beside all of the untrained twin's (.01 is expected)."""
    return {role: _vectors(own) for role, own in _by(rows, "role").items()}


def overlaps(rows: Iterable[Row], vectors: Iterable[Row]) -> dict[str, Found]:
    """By role: overlaps above the band of random directions in the same parts of the spectrum, beside the
    untrained twin's, and the mean share in the top space."""
    of_name = {row["name"]: row for row in vectors}
    return {
        role: _overlaps([(row, of_name[row["name"]]) for row in own])
        for role, own in _by(rows, "role").items()
    }


def covariances(rows: Iterable[Row]) -> list[Found]:
    """What each covariance rests on, by number of inputs."""
    return [
        {
            "inputs": inputs,
            "matrices": len(own),
            "tokens": min(row["tokens"] for row in own),
            "rank": min(row["covariance_rank"] for row in own),
            "least_effective_sample": min(
                (row["effective_sample"] for row in own if row["effective_sample"] is not None), default=None
            ),
        }
        for inputs, own in sorted(_by(rows, "columns").items())
    ]


def lesions(rows: Iterable[Row]) -> dict[str, Any]:
    """By measure and role: baseline, and for each slice removed energy, impact with interval and the mean
    impact of both controls."""
    found: dict[str, Any] = {}
    of_roles = [row for row in rows if row["target_kind"] == "role"]
    for (measure, role), own in _by(of_roles, "measure", "role").items():
        kinds = _by(own, "kind")
        controls = {kind: _by(kinds[kind], "slice") for kind in sorted(kinds) if kind != "lesion"}
        slices = [
            {
                "slice": row["slice"],
                "removed_energy": row["removed_energy"],
                "impact": [row["impact"], row["impact_low"], row["impact_high"]],
                **{
                    kind: [float(np.mean([one[name] for one in of_slice[row["slice"]]])) for name in _CONTROL]
                    for kind, of_slice in controls.items()
                    if row["slice"] in of_slice
                },
            }
            for row in sorted(kinds["lesion"], key=lambda row: row["slice"])
        ]
        measured = found.setdefault(measure, {"unit": own[0]["unit"], "roles": {}})
        measured["baseline"] = own[0]["baseline"]
        measured["roles"][role] = slices
    return found


_CONTROL = ("impact", "removed_energy")


def controls_beaten(rows: Iterable[Row]) -> dict[str, Any]:
    """By measure and control: lesions of a role's slice whose impact's interval lies above, around and below
    the mean impact of the control."""
    found: dict[str, Any] = {}
    of_roles = [row for row in rows if row["target_kind"] == "role"]
    for measure, own in _by(of_roles, "measure").items():
        kinds = _by(own, "kind")
        for kind in sorted(set(kinds) - {"lesion"}):
            of_place = _by(kinds[kind], "role", "slice")
            counts = {"above": 0, "around": 0, "below": 0, "without_interval": 0}
            for row in kinds["lesion"]:
                place = of_place.get((row["role"], row["slice"]))
                if place is None:
                    continue
                control = float(np.mean([one["impact"] for one in place]))
                counts[_side(row, control)] += 1
            found.setdefault(measure, {})[kind] = counts
    return found


def claims(rows: Iterable[Row]) -> list[Found]:
    kept = ("claim", "score", "against", "statistic", "value", "low", "high", "p_value", "points", "point")
    return [{name: row[name] for name in kept} for row in rows]


def dynamics(tables: Mapping[str, Iterable[Row]]) -> list[Found]:
    """By step: the shares of `vectors` and `overlaps`, mean scores and impacts of the smallest, a middle and
    the largest slice, by role."""
    by_step = {name: _by(rows, "step") for name, rows in tables.items()}
    found = []
    for step in sorted(by_step["vectors"]):
        own = {name: rows.get(step, []) for name, rows in by_step.items()}
        found.append(
            {
                "step": step,
                "vectors": vectors(own["vectors"]),
                "overlaps": overlaps(own["overlap"], own["vectors"]),
                "scores": {
                    role: {score: _ends(rows, score) for score in SCORES}
                    for role, rows in _by(own["slices"], "role").items()
                },
                "impacts": {
                    measure: {
                        role: [_impact(slices, number) for number in (0, len(slices) // 2 - 1, -1)]
                        for role, slices in measured["roles"].items()
                    }
                    | {"baseline": measured["baseline"]}
                    for measure, measured in lesions(own["lesions"]).items()
                },
            }
        )
    return found


def agreement(slices: Mapping[str, Iterable[Row]]) -> list[Found]:
    """Rank correlation of roles between every two models: of their mean score over all slices, the smallest
    and the largest."""
    names = list(slices)
    kept = {name: [row for row in rows if row["layer"] is not None] for name, rows in slices.items()}
    found = []
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            for score in SCORES:
                for which in ("all", "smallest", "largest"):
                    sides = [_of_slices(kept[name], which, score) for name in (one, other)]
                    agreed = lmscope.role_agreement(*sides[0], *sides[1])
                    found.append(
                        {
                            "models": [one, other],
                            "score": score,
                            "slices": which,
                            "value": agreed.value,
                            "p_value": agreed.p_value,
                            "roles": list(agreed.roles),
                            "refused": agreed.refused,
                        }
                    )
    return found


def warnings(rows: Iterable[Row]) -> list[Found]:
    """Caveats on the weights in the records' own words, and of how many matrices of which roles."""
    return [
        {"warning": warning, "matrices": len(own), "roles": sorted({row["role"] for row in own})}
        for warning, own in _by(rows, "warning").items()
        if warning
    ]


def _by(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(row[column] for column in columns)
        found[key[0] if len(columns) == 1 else key].append(row)
    return dict(found)


def _parts(row: Row) -> dict[str, np.ndarray]:
    """Which ranks lie below the lower edge, inside, and above; all inside without a verdict."""
    values = np.asarray(row["singular_values"])
    if row["lower_edge"] is None:
        return {
            "below": np.zeros(values.size, bool),
            "inside": np.ones(values.size, bool),
            "above": np.zeros(values.size, bool),
        }
    below, above = values < row["lower_edge"], values > row["upper_edge"]
    return {"below": below, "inside": ~below & ~above, "above": above}


def _share(flags: list[np.ndarray]) -> Found:
    joined = np.concatenate(flags) if flags else np.zeros(0, bool)
    return {"vectors": int(joined.size), "share": float(joined.mean()) if joined.size else None}


def _vectors(rows: list[Row]) -> Found:
    found: Found = {}
    for side in ("right", "left"):
        name = f"p_{side}"
        found[side] = {
            part: _share([np.asarray(row[name])[_parts(row)[part]] < SMALL_P for row in rows])
            for part in ("below", "inside", "above")
        }
        twin = [np.asarray(row[f"untrained_{name}"]) < SMALL_P for row in rows if row[f"untrained_{name}"]]
        found[side]["untrained"] = _share(twin)
    return found


def _overlaps(pairs: list[tuple[Row, Row]]) -> Found:
    found: Found = {}
    for part in ("below", "inside", "above"):
        own = [(row, _parts(of_vectors)[part]) for row, of_vectors in pairs]
        found[part] = _share([np.asarray(row["overlap"])[ranks] > row["null_high"] for row, ranks in own])
        shares = np.concatenate([np.asarray(row["top_share"])[ranks] for row, ranks in own])
        found[part]["mean_top_share"] = float(shares.mean()) if shares.size else None
    twins = [row for row, _ in pairs if row["untrained_overlap"]]
    found["untrained"] = _share([np.asarray(row["untrained_overlap"]) > row["null_high"] for row in twins])
    found["top_share_of_random"] = float(np.mean([row["top_location"] for row, _ in pairs]))
    return found


def _side(row: Row, control: float) -> str:
    if row["impact_low"] is None:
        return "without_interval"
    if row["impact_low"] > control:
        return "above"
    return "below" if row["impact_high"] < control else "around"


def _ends(rows: list[Row], score: str) -> list[float | None]:
    """Mean over the matrices of the smallest, a middle and the largest slice."""
    count = rows[0]["slices"]
    found = []
    for number in (1, count // 2, count):
        values = [row[score] for row in rows if row["slice"] == number and row[score] is not None]
        found.append(float(np.mean(values)) if values else None)
    return found


def _impact(slices: list[Found], number: int) -> Found:
    return {name: slices[number][name] for name in ("slice", "removed_energy", "impact")}


def _of_slices(rows: list[Row], which: str, score: str) -> tuple[list[float], list[str]]:
    kept = [
        row
        for row in rows
        if row[score] is not None
        and (which == "all" or row["slice"] == (1 if which == "smallest" else row["slices"]))
    ]
    return [row[score] for row in kept], [row["role"] for row in kept]
