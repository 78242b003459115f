"""A proposed set of removable coordinates in words, on the text that it was chosen on and on other text."""

from __future__ import annotations

from lmscope.analyses.lesion_impact import FEWEST_UNITS
from lmscope.report.records import Row
from lmscope.report.words import count, number, percent

Ends = tuple[float | None, ...]
"""Divergence, and the ends of its interval."""


def check_sentence(limit: float, checked: Ends, other: Ends) -> str:
    """Of the divergence and its interval on the windows left over, and on other text where there is some."""
    text = f"On windows that it was not chosen on {_measured(checked)}: {_verdict(limit, checked)}"
    if other[0] is not None:
        text += f"; on other text {_measured(other)}: {_verdict(limit, other)}"
    return f"{text}."


def removable_claim(
    *,
    removed: int,
    dimensions: int,
    share: float,
    fill: str,
    limit: float,
    js: float | None,
    high: float | None,
    windows: int,
    checked: Ends,
    other: Ends,
) -> str:
    """Of the proposed set, with the upper end of the interval where there is one."""
    if not removed:
        return (
            "No set of coordinates, least contribution first, stays within a Jensen\u2013Shannon divergence "
            f"of {number(limit)} nats on held-out text."
        )
    filled = "set to zero" if fill == "zero" else "set to their mean"
    upper = no_interval(windows) if high is None else f"upper end of its 95 % interval {number(high)}"
    return (
        f"{percent(share)} of the coordinates ({number(removed)} of {number(dimensions)}), least "
        f"contribution first, can be {filled} within a Jensen\u2013Shannon divergence of {number(limit)} "
        f"nats on the held-out windows that the set was chosen on ({number(js)}, {upper}). "
        f"{check_sentence(limit, checked, other)}"
    )


def of_mask(row: Row, dimensions: int) -> str:
    """The same of a row of the table "mask"."""
    checked, other = (
        tuple(row[f"{of}_{end}"] for end in ("js", "low", "high")) for of in ("checked", "other")
    )
    return removable_claim(
        removed=row["dimensions_removed"],
        dimensions=dimensions,
        high=row["js_high"],
        checked=checked,
        other=other,
        **{name: row[name] for name in ("share", "fill", "limit", "js", "windows")},
    )


def no_interval(windows: int) -> str:
    """Why the set was chosen by the mean alone."""
    return f"no interval: {count(windows, 'window')}, {FEWEST_UNITS} are needed"


def _measured(found: Ends) -> str:
    value, low, high = found
    ends = (
        "too few windows for an interval"
        if low is None or high is None
        else f"95 % {number(low)} to {number(high)}"
    )
    return f"the divergence is {number(value)} nats ({ends})"


def _verdict(limit: float, found: Ends) -> str:
    value, low, high = found
    if value is None:
        return "not known"
    if low is None or high is None:
        return "within the limit, unproven" if value <= limit else "above the limit, unproven"
    if high <= limit:
        return "within the limit"
    return "above the limit" if low > limit else "not told apart from the limit"
