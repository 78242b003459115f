"""HTML from templates, with every word out of a record escaped and nothing in it invisible."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from lmscope.report import words
from lmscope.visible import visible

HERE = Path(__file__).parent


def render(template: str, /, **values: Any) -> Markup:
    """A template given as text, filled in."""
    return Markup(_compiled(template).render(values))


@cache
def _compiled(template: str) -> jinja2.Template:
    return environment().from_string(template)


def _visible(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _csv_if_odd(text: str) -> Markup:
    """The text for a table's download, as an attribute, where the cell shows it differently."""
    odd = text != visible(text) or text != " ".join(text.split())
    return Markup(" data-csv='{}'").format(htmlsafe_json_dumps([text])) if odd else Markup("")


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters["csv_if_odd"] = _csv_if_odd
    for name in ("number", "percent", "signed_percent", "p_value", "count", "plain", "shape"):
        made.filters[name] = getattr(words, name)
    return made
