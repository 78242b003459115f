"""One self-contained HTML page from the records of a run; no torch, no kernel, no checkpoint."""

from __future__ import annotations

from lmscope.report.page import build

__all__ = ["build"]
