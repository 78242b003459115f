"""Puts the sections together into one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lmscope.report.figures import Figure
from lmscope.report.file_names import file_stem, file_stems
from lmscope.report.records import Records
from lmscope.report.sections import sections_of
from lmscope.report.templates import HERE, environment, render
from lmscope.report.themes import DARK, LIGHT
from lmscope.results.files import write_atomically

_UNWANTED_BUTTONS = ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
_ZOOM_BUTTONS = ["zoom2d", "pan2d", "resetScale2d"]


def build(run_folder: Path) -> Path:
    """Write ``run_folder/report.html`` from the run's records and return its path.

    The page is one file that opens offline: plotly.js, style and script are inside. An older page is replaced
    at once, or stays as it was if anything fails.

    Raises ResultsError where the folder is no result folder or a record is unreadable.
    """
    run_folder = Path(run_folder)
    page = as_html(Records(run_folder))
    target = run_folder / "report.html"
    write_atomically(target, lambda file: file.write(page.encode("utf-8")))
    return target


def as_html(records: Records) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs

    sections = sections_of(records)
    content = {
        "file": file_stem(records.file_name),
        "themes": {"light": LIGHT, "dark": DARK},
        "figures": {section.key: _for_script(section.figure) for section in sections if section.figure},
    }
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            model=records.title,
            sections=[(section, render(section.template, **section.values)) for section in sections],
            content=_script_json(content),
            style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
            script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
            plotly=Markup(get_plotlyjs()),
        )
    )


def _for_script(figure: Figure) -> dict[str, Any]:
    notes = {key: {**vars(note), "name": "", "file": "none"} for key, note in figure.notes.items()}
    unwanted = _UNWANTED_BUTTONS + ([] if "dragmode" in figure.layout else _ZOOM_BUTTONS)
    return {
        "data": figure.data,
        "layout": figure.layout,
        "config": {
            "responsive": True,
            "displaylogo": False,
            "showSendToCloud": False,
            "modeBarButtonsToRemove": unwanted,
        },
        "first": figure.first,
        "selects": figure.selects,
        "follows": figure.follows,
        "cells": figure.cells,
        "columns": figure.columns,
        "parts": figure.parts,
        "variants": notes
        | {
            key: {**vars(figure.variant(key)), "name": figure.states[key], "file": file}
            for key, file in state_files(figure).items()
            if figure.on_page is None or key in figure.on_page
        },
        "absent": figure.absent and {**vars(figure.absent), "name": "", "file": "none"},
    }


def state_files(figure: Figure) -> dict[str, str]:
    """The part of a file's name that says which state it shows: the matrix's name and the further parts of
    the state's key, or that key."""
    parts = {
        key: [str(figure.matrices[key]["name"]) if key in figure.matrices else first, *further]
        for key in figure.states
        for first, *further in [key.split(":")]
    }
    names = ["-".join(parts[key]) for key in figure.states]
    if len(set(names)) < len(names):
        names = [key if key not in figure.matrices else name for key, name in zip(parts, names, strict=True)]
    return dict(zip(figure.states, file_stems(names), strict=True))


def _script_json(value: Any) -> Markup:
    """JSON that no tensor name can break out of: inside a script element, ``<`` must never appear."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c"))
