"""The sections of the page, one module each.

A module gives ``ORDER`` (where it stands) and ``section(records, environment) -> Section | None`` (None:
nothing to show). It is found by being here; the page's frame and script need no change.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from lmscope.report.figures import Figure


@dataclass(frozen=True)
class Section:
    """``shows`` and ``surprise`` are the caption: what is seen here, and what should make a reader stop."""

    key: str
    title: str
    html: Markup
    shows: str = ""
    surprise: str = ""
    figure: Figure | None = None
