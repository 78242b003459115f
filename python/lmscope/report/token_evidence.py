"""How much the sampled positions can bear: what was asked and found, and how few passages tell nothing."""

from __future__ import annotations

from lmscope.report.words import count

FEWEST_TO_TELL_APART = 5
"""Texts or passages below which an interval is no ground for a verdict."""

_FEW = 10


def drawn_from(passages: int, clusters: int) -> int:
    """Of what intervals draw: 1 where all positions are of one passage, whose positions are drawn instead."""
    return 1 if passages == 1 else clusters


def caveat(passages: int, clusters: int) -> str:
    """About the intervals; empty where there are enough of what they draw. ``clusters`` are passages, or
    texts of several passages each."""
    drawn = drawn_from(passages, clusters)
    if drawn == 1:
        return (
            "All positions are of one passage and share its text: their intervals come out too narrow, and "
            "tell no selectors apart. Give more text."
        )
    if drawn >= _FEW:
        return ""
    units = f"{drawn} {'passages' if drawn == passages else 'texts'}"
    if drawn < FEWEST_TO_TELL_APART:
        return (
            f"The intervals draw from {units}: from fewer than {FEWEST_TO_TELL_APART} they tell no selectors "
            "apart. Give more text."
        )
    return f"The intervals draw from {units}: from so few they are rough."


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
