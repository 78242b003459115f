"""Puts the sections together into one file."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lmscope.report import sections, words
from lmscope.report.records import Records, read_records
from lmscope.report.sections import Section
from lmscope.results.files import write_atomically

_HERE = Path(__file__).parent


def build(run_folder: Path) -> Path:
    """Write ``run_folder/report.html`` from the run's records and return its path.

    The page is one file that opens offline: plotly.js, style and script are inside. An older page is replaced
    at once, or stays as it was if anything fails.

    Raises ResultsError where the folder is no result folder or a record is unreadable.
    """
    run_folder = Path(run_folder)
    page = render(read_records(run_folder))
    target = run_folder / "report.html"
    write_atomically(target, lambda file: file.write(page.encode("utf-8")))
    return target


def render(records: Records) -> str:
    """The page as text."""
    from plotly.offline import get_plotlyjs

    environment = _environment()
    shown = [
        section for module in _modules() if (section := module.section(records, environment)) is not None
    ]
    figures = {
        key: _figure(section) for section in shown if (key := section.key) and section.figure is not None
    }
    return environment.get_template("page.html.jinja").render(
        model=records.checkpoint.get("name") or "unnamed checkpoint",
        sections=shown,
        figures=_script_json(figures),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def _modules() -> list[Any]:
    """Every module of ``report.sections``, in the order that they ask for: a new section is a new file."""
    found = [
        importlib.import_module(f"{sections.__name__}.{info.name}")
        for info in pkgutil.iter_modules(sections.__path__)
    ]
    return sorted(found, key=lambda module: module.ORDER)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "percent", "p_value", "count", "plain", "shape"):
        environment.filters[name] = getattr(words, name)
    return environment


def _figure(section: Section) -> dict[str, Any]:
    assert section.figure is not None
    figure = section.figure
    return {
        "data": figure.data,
        "layout": figure.layout,
        "selects": figure.selects,
        "cells": figure.cells,
        "variants": {key: vars(variant) for key, variant in figure.variants.items()},
    }


def _script_json(value: Any) -> Markup:
    """JSON that no tensor name can break out of: inside a script element, ``<`` must never appear."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
