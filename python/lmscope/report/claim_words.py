"""What a tested claim comes to, in one sentence that says no more than its interval and p-value do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lmscope.report.records import Row
from lmscope.report.words import count, number, p_value, percent, plain

SAME = "same_in_both"
TITLES = {
    "consistent": "Do roles behave alike?",
    SAME: "Do roles rank alike in both?",
    "diagnostic": "Do the weights alone tell?",
    "beyond_roles": "Within a role (description)",
}
_LEVEL = 0.05
_PER_ENERGY = "per_energy: "


def said(rows: Sequence[Row]) -> list[Row]:
    """Those that came to a number."""
    return [row for row in rows if row["value"] is not None]


def refused(rows: Sequence[Row]) -> str:
    """One sentence for all that came to none, with the reason where the rows have it; "" without any."""
    silent = [row for row in rows if row["value"] is None]
    if not silent:
        return ""
    told = f"Nothing is said on {len(silent)} of {count(len(rows), 'claim')}"
    reasons = Counter(row.get("reason") or _too_few(row) for row in silent)
    return f"{told}: {'; '.join(f'{reason} ({times})' for reason, times in reasons.items())}."


def _too_few(row: Row) -> str:
    verb = "is" if row["points"] == 1 else "are"
    return f"{count(row['points'], 'point')}, each one {row['point']}, {verb} too few"


def sentence(row: Row) -> str:
    """Raises KeyError where a column is missing."""
    points = f"{count(row['points'], 'point')} (each one {row['point']})"
    if row["claim"] == "consistent":
        return _consistent(row, points)
    what = (
        f"the roles' mean {plain(row['score'])} in {row['checkpoint']} and in {row['against']}"
        if row["claim"] == SAME
        else f"{plain(row['score'])} and {_held_against(row)}"
    )
    if row["claim"] == "beyond_roles":
        return _described(row, f"Rank correlation of {what}", points)
    return _correlated(row, f"Rank correlation of {what}", points)


def _consistent(row: Row, points: str) -> str:
    variance = f"the variance of {plain(row['score'])}"
    who = plain(row["against"]).capitalize()
    if row["value"] is None:
        return f"{who} and {variance}: {_refused(row, points)}"
    share = f"{who} explains {percent(row['value'])} of {variance} over {points}"
    if row["p_value"] is None:
        return f"{share}; no p-value."
    if row["p_value"] > _LEVEL:
        return f"{share}, no more than shuffled labels may explain (p = {p_value(row['p_value'])})."
    return f"{share}, more than shuffled labels do (p {_p(row)})."


def _correlated(row: Row, what: str, points: str) -> str:
    value, low, high, p = (row[name] for name in ("value", "low", "high", "p_value"))
    if value is None:
        return f"{what}: {_refused(row, points)}"
    told = f"{what}: {_value(row)} over {points}"
    if row["shared"] is not None:
        told += f", {_of_profile(row)}"
        # What all groups share is no relation between them: it is what lies beyond that is tested.
        value, low, high = value - row["shared"], row["beyond_low"], row["beyond_high"]
    by_interval = None if low is None or high is None else low > 0 or high < 0
    by_p = None if p is None else p <= _LEVEL
    if by_interval is None and by_p is None:
        return f"{told}; neither interval nor p-value, so it may be chance."
    if by_interval and by_p is not False:
        way = "they rise together" if value > 0 else "one falls as the other rises"
        weak = "" if abs(value) >= 0.5 else ", weakly"
        return f"{told}: {way}{weak}."
    if by_interval is None and by_p:
        way = "rise together" if value > 0 else "run against each other"
        return f"{told}: they {way} (p {_p(row)}), by how much nobody knows without an interval."
    if by_interval or by_p:
        return f"{told}: interval and p-value disagree, so nothing is claimed."
    return f"{told}: not told apart from no relation."


def _described(row: Row, what: str, points: str) -> str:
    if row["value"] is None:
        return f"{what}: {_refused(row, points)}"
    told = f"{what}: {_value(row)} over {points}"
    if row["shared"] is not None:
        told += f", of which {number(row['shared'], 2)} from what the matrices of a role share"
    if row["p_value"] is not None:
        told += f"; within roles shuffled, p {_p(row)}"
    return f"{told}. A description: it takes matrices as independent."


def _value(row: Row) -> str:
    told = number(row["value"], 2)
    if row["low"] is None or row["high"] is None:
        return told
    return f"{told} (95 % {number(row['low'], 2)} to {number(row['high'], 2)})"


def _of_profile(row: Row) -> str:
    told = f"of which {number(row['shared'], 2)} comes from a profile that all roles share"
    if row["beyond_low"] is None or row["beyond_high"] is None:
        return told
    beyond, low, high = row["value"] - row["shared"], row["beyond_low"], row["beyond_high"]
    return f"{told}, and {number(beyond, 2)} (95 % {number(low, 2)} to {number(high, 2)}) does not"


def _refused(row: Row, points: str) -> str:
    if row["reason"]:
        return f"nothing is said of {points}: {row['reason']}."
    return f"nothing is said, as {points} {'does' if row['points'] == 1 else 'do'} not suffice."


def _p(row: Row) -> str:
    shown = p_value(row["p_value"])
    return shown if shown.startswith("<") else f"= {shown}"


def _held_against(row: Row) -> str:
    against = str(row["against"])
    if against.startswith(_PER_ENERGY):
        return f"lesion impact per energy, {plain(against.removeprefix(_PER_ENERGY))}"
    return against if row["claim"] == SAME else plain(against)
