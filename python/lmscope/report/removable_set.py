"""What a proposed set of coordinates costs on text that it was not chosen on."""

from __future__ import annotations

from lmscope.analyses.lesion_impact import FEWEST_UNITS
from lmscope.report.records import Row
from lmscope.report.words import count, number

Ends = tuple[float | None, ...]
"""Divergence, and the ends of its interval."""


def check_sentence(
    limit: float,
    checked: Ends,
    other: Ends,
) -> str:
    """Of the divergence and its interval on the windows left over, and on other text where there is some."""
    text = f"On windows that it was not chosen on {_measured(checked)}: {_verdict(limit, checked)}"
    if other[0] is not None:
        text += f"; on other text {_measured(other)}: {_verdict(limit, other)}"
    return f"{text}."


def of_mask(row: Row) -> str:
    """The same of a row of the table "mask"."""
    of = {name: tuple(row[f"{name}_{end}"] for end in ("js", "low", "high")) for name in ("checked", "other")}
    return check_sentence(row["limit"], of["checked"], of["other"])


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
