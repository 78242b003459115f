"""One self-contained HTML page from the records of a run, and its figures; no torch, no kernel."""

from __future__ import annotations

from lmscope.report.page import build
from lmscope.report.plots import NoSuchFigure, plot
from lmscope.report.records import Records
from lmscope.report.static_figures import NoBrowser, write_figures

__all__ = ["NoBrowser", "NoSuchFigure", "Records", "build", "plot", "write_figures"]
