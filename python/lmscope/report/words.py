"""Numbers and names in plain words."""

from __future__ import annotations

import math
from html import escape

from lmscope.visible import visible


def number(value: float | None, digits: int = 3) -> str:
    """Integers whole, other numbers to ``digits`` significant digits; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    if abs(float(f"{value:.{digits - 1}e}")) < 10**digits:
        return f"{value:.{digits}g}"
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) < 9_999_999.5 else f"{value:.{digits - 1}e}"


def percent(value: float | None) -> str:
    """A share from 0 to 1; 0 % and 100 % only where nothing or everything is meant."""
    if value is None:
        return "–"
    share = round(100 * value, 9)
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.1f} %" if 0 < share < 9.95 or 99.5 <= share < 100 else f"{share:.0f} %"


def rate(value: float | None) -> str:
    """A false-positive rate, to two digits however small: 0.15 %."""
    return "–" if value is None else f"{number(100 * value, 2)} %"


def signed_percent(value: float | None) -> str:
    """A number around 0, as the excess over chance: alike on either side, 0 % where it rounds to that."""
    if value is None:
        return "–"
    if abs(value) < 0.0005:
        return "0 %"
    size = percent(max(abs(value), 0.001))
    return f"-{size}" if value < 0 else size


def p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def count(how_many: int, noun: str, plural: str = "") -> str:
    return f"{number(how_many)} {noun if how_many == 1 else plural or noun + 's'}"


def as_html(text: object) -> str:
    """Text out of a record, for charts: they take their words for markup."""
    return escape(visible(str(text)))


def plain(name: str) -> str:
    """A role or status as words: ``attention_output`` -> ``attention output``."""
    return name.replace("_", " ")


def shape(rows: int, columns: int) -> str:
    return f"{rows}\u2009×\u2009{columns}"


def of_one(label: str, text: str) -> str:
    """A sentence that names what it is of: ``In step-01000: overlaps ...``"""
    return f"In {label}: {text[:1].lower()}{text[1:]}"


def listing(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
