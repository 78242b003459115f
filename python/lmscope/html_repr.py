"""The look of results in notebooks: small tables, legible in light and dark, every text escaped.

Tensor and checkpoint names come out of files that strangers wrote.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from lmscope.visible import visible

_LINE = "1px solid rgba(128, 128, 128, 0.4)"
_CELL = "padding: 0.15em 0.9em 0.15em 0; background: none; vertical-align: top; border: 0;"


def block(title: str, *parts: str) -> str:
    """``title`` over parts that the other functions of this module made."""
    body = "".join(parts)
    return f'<div style="max-width: 60em"><div><strong>{_text(title)}</strong></div>{body}</div>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Two columns: what, and its value."""
    rows = "".join(
        f'<tr style="background: none"><td style="{_CELL} text-align: left; opacity: 0.75">{_text(name)}</td>'
        f'<td style="{_CELL} text-align: left">{_text(value)}</td></tr>'
        for name, value in pairs
    )
    return f'<table style="border-collapse: collapse; margin: 0.3em 0">{rows}</table>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1) -> str:
    """One row per thing; the first ``words`` columns hold words, the others numbers."""

    def cells(row: Sequence[object], tag: str, more: str = "") -> str:
        aligned = ("left" if position < words else "right" for position in range(len(row)))
        return "".join(
            f'<{tag} style="{_CELL} text-align: {side};{more}">{_text(value)}</{tag}>'
            for side, value in zip(aligned, row, strict=True)
        )

    head = cells(header, "th", f" border-bottom: {_LINE}")
    body = "".join(f'<tr style="background: none">{cells(row, "td")}</tr>' for row in rows)
    return (
        '<table style="border-collapse: collapse; margin: 0.3em 0">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def line(text: object) -> str:
    """A sentence below the tables."""
    return f'<div style="opacity: 0.75">{_text(text)}</div>'


def link(href: str, text: object, before: str = "") -> str:
    """A line with a link that opens beside the notebook."""
    target = f'href="{escape(href)}" target="_blank" rel="noopener"'
    return f"<div>{_text(before)}<a {target}>{_text(text)}</a></div>"


def number(value: float | None) -> str:
    """Four significant digits; a dash where there is no value."""
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"


def shape(sizes: Iterable[int]) -> str:
    return " × ".join(map(str, sizes))


def _text(value: object) -> str:
    return escape(visible(str(value)))
