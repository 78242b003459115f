"""What `localize` found, in sentences that claim no more than the bands and intervals allow."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lmscope.report.lesion_rows import Target, partly, targets
from lmscope.report.location_rows import matrices
from lmscope.report.records import Records, Row
from lmscope.report.words import count, listing, number, of_one, percent, plain, rate

_LEVEL = 0.01
_MOST_ROLES = 3


def location_sentences(records: Records) -> list[str]:
    """One of the vectors, one of the overlaps and one of the lesions, as far as the run holds them.

    All are of the checkpoint that is shown, which they name where the run holds several.
    """
    rows = matrices(records)
    if not rows:
        return []
    told = [*_vectors(rows), *_overlaps(rows), *_lesions(records.shown("lesions"))]
    return [of_one(records.shown_label, text) for text in told] if len(records.located) > 1 else told


def _vectors(rows: list[Row]) -> list[str]:
    by_role: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["draws"]:
            by_role[row["role"]].append(row)
    if not by_role:
        return []
    share = {role: _below(some, "p") for role, some in by_role.items()}
    first = sorted(share, key=lambda role: (-share[role], role))[:_MOST_ROLES]
    twins = [row for row in rows if row["draws"] and row["untrained_p_right"] is not None]
    beside = f"; {percent(_below(twins, 'untrained_p'))} in the untrained twin" if twins else ""
    named = listing([f"{plain(role)} ({percent(share[role])})" for role in first])
    whole = percent(_below([row for some in by_role.values() for row in some], "p"))
    return [
        f"{whole} of the singular vectors have a p-value below {_LEVEL} as random directions, where "
        f"{percent(_LEVEL)} is expected of noise{beside}. Most in {named}."
    ]


def _below(rows: list[Row], column: str) -> float:
    values = np.concatenate([row[f"{column}_{side}"] for row in rows for side in ("right", "left")])
    return float(np.mean(values < _LEVEL))


def _overlaps(rows: list[Row]) -> list[str]:
    """Above the band beyond the Marchenko-Pastur edges and between them."""
    above: dict[bool, list[np.ndarray]] = {True: [], False: []}
    by_chance = set()
    for row in rows:
        if row["overlaps"] is None or row["upper_edge"] is None:
            continue
        place = np.arange(len(row["singular_values"]))
        beyond = (place < row["n_above"]) | (place >= len(place) - row["n_below"])
        found = row["overlaps"]["overlap"] > row["overlaps"]["null_high"]
        by_chance.add(row["overlaps"]["false_positive_rate"] / 2)
        for side in (True, False):
            above[side].append(found[beyond == side])
    if not above[True]:
        return []
    parts = []
    for side, where in ((True, "beyond the Marchenko–Pastur edges"), (False, "between them")):
        some = np.concatenate(above[side])
        if len(some):
            parts.append(f"{percent(float(some.mean()))} of {count(len(some), 'vector')} {where}")
    chance = listing([rate(share) for share in sorted(by_chance)])
    return [
        f"Overlaps with the activations are above the band of random directions for {listing(parts)}; "
        f"{chance} of random ones are."
    ]


def _lesions(rows: list[Row]) -> list[str]:
    roles = targets(rows).get("roles", [])
    if not roles:
        return []
    measure = _measure(rows)
    held = [(one, point) for one in roles for point in one.curve(measure, "lesion", "impact")]
    if not held:
        return []
    target, point = max(held, key=lambda pair: pair[1].value)
    row = point.rows[0]
    if point.value <= 0:
        return [f"No slice removed from a role at once does harm to {plain(measure)}; at most {_said(row)}."]
    told = [
        f"Of all slices removed from a role at once, slice {point.slice} of {row['slices']} of "
        f"{target.label}{partly(row)} does most harm to {plain(measure)}: {_said(row)}, with "
        f"{percent(row['removed_energy'])} of the energy{_control(target, measure, point.slice)}."
    ]
    smallest = [(one, at) for one, at in held if at.slice == 1 and at.low is not None and at.low > 0]
    if smallest:
        one, at = max(smallest, key=lambda pair: pair[1].value)
        told.append(
            f"Of the smallest slices, whose intervals exclude 0 in {count(len(smallest), 'role')}, that of "
            f"{one.label}{partly(at.rows[0])} harms most: {_said(at.rows[0])}, with "
            f"{percent(at.rows[0]['removed_energy'])} of the energy{_control(one, measure, 1)}."
        )
    return [" ".join([*told, "The largest of several is flattered by the choice."])]


def _measure(rows: list[Row]) -> str:
    """The first with intervals, or the first."""
    known = (row for row in rows if row["impact_low"] is not None)
    return str(next(known, rows[0])["measure"])


def _said(row: Row) -> str:
    if row["impact_low"] is None or row["impact_high"] is None:
        return f"{number(row['impact'])} {row['unit']} (no interval)"
    ends = f"95 % {number(row['impact_low'])} to {number(row['impact_high'])}"
    return f"{number(row['impact'])} {row['unit']} ({ends})"


def _control(target: Target, measure: str, place: int) -> str:
    found = [at for at in target.curve(measure, "random_energy", "impact") if at.slice == place]
    if not found:
        return ""
    draws = count(len(found[0].rows), "draw")
    return f"; random directions of equal energy: {number(found[0].value)} (mean of {draws})"
