"""Numbers and names in plain words."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """Integers whole, other numbers to ``digits`` significant digits; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace(",", "\u202f") if abs(value) < 1e7 else f"{value:.{digits - 1}e}"
    return f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %" if 0 < value < 0.0995 else f"{100 * value:.0f} %"


def p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def count(how_many: int, noun: str, plural: str = "") -> str:
    return f"{number(how_many)} {noun if how_many == 1 else plural or noun + 's'}"


def plain(name: str) -> str:
    """A role or status as words: ``attention_output`` -> ``attention output``."""
    return name.replace("_", " ")


def shape(rows: int, columns: int) -> str:
    return f"{rows}\u2009×\u2009{columns}"


def listing(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
