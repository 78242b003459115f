"""How much the sampled positions can bear: what was asked and found, and how few passages tell nothing."""

from __future__ import annotations

from lmscope.report.words import count

FEWEST_TO_TELL_APART = 5
"""Texts or passages below which an interval is no ground for a verdict."""

_FEW = 10


def tells_apart(clusters: int, by: str) -> bool:
    """Whether intervals that take so many texts, passages or positions (``by``) as independent are ground for
    a verdict."""
    return by != "positions" and clusters >= FEWEST_TO_TELL_APART


def caveat(clusters: int, by: str) -> str:
    """About the intervals, of ``clusters`` texts, passages or positions (``by``); empty for many texts."""
    if by == "positions":
        return (
            "All positions are of one passage and share its text: their intervals come out too narrow, and "
            "tell no selectors apart. Give more text."
        )
    units = f"{clusters} {by}"
    if clusters < FEWEST_TO_TELL_APART:
        return (
            f"The intervals take {units} as independent: from fewer than {FEWEST_TO_TELL_APART} they tell no "
            "selectors apart. Give more text."
        )
    if by == "passages":
        return f"The intervals take {units} of few texts as independent: they come out too narrow."
    if clusters < _FEW:
        return f"The intervals take {units} as independent: from so few they are rough."
    return ""


def missing_positions(found: int, asked: int, min_context: int, *, failed: bool) -> str:
    """Empty where as many positions were found as asked for. ``failed``: passages failed, with theirs."""
    if found >= asked:
        return ""
    wanted = count(asked, "position")
    if failed:
        return f"{found or 'None'} of {wanted}: passages failed, and those that they held are missing."
    why = (
        f"no more tokens have {min_context} before them" if found else f"no token has {min_context} before it"
    )
    return f"{found or 'None'} of {wanted}: {why}; lower --min-context or give more text."
