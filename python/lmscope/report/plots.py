"""One figure in one state as a plotly figure, titled: for notebooks and for files."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from lmscope.report.figures import Figure, merged, unpacked
from lmscope.report.records import Records
from lmscope.report.sections import section_of, sections_of
from lmscope.report.themes import LIGHT
from lmscope.report.words import as_html
from lmscope.visible import visible

if TYPE_CHECKING:
    import plotly.graph_objects

_WIDTH = 960
_HEADING_LETTERS, _LINE_LETTERS = 84, 110
_MOST_NAMED = 8


class NoSuchFigure(ValueError):
    """The run has no figure, or the figure no state, of this name; the text says what there is."""


def plot(records: Records, figure: str, state: str | None = None) -> plotly.graph_objects.Figure:
    """A figure (a section's key) in a state (its key or name), by default that which the page opens with.

    Raises NoSuchFigure, and TypeError where one of them is no string.
    """
    from plotly.graph_objects import Figure as PlotlyFigure

    _check_name("figure", figure, lambda: list(figures_of(records)))
    section = section_of(records, figure)
    if section is None or section.figure is None:
        names = _listed(figure, list(figures_of(records)))
        raise NoSuchFigure(f"plot: no figure {figure!r} in this run; there is {names}")
    chosen = section.figure
    key = chosen.first if state is None else _state(figure, chosen, state)
    return PlotlyFigure(as_plotly(records.title, chosen, key))


def _check_name(what: str, value: object, names: Callable[[], list[str]]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"plot: {what} must be a name, not {value!r}; there is {_listed('', names())}")


def figures_of(records: Records) -> dict[str, Figure]:
    """The page's figures by their sections' keys."""
    return {section.key: section.figure for section in sections_of(records) if section.figure is not None}


def _state(name: str, figure: Figure, wanted: str) -> str:
    names = list(figure.states.values()) if figure.matrices else [*figure.states, *figure.states.values()]
    _check_name(f"state of {name!r}", wanted, lambda: names)
    for key, known in figure.states.items():
        if wanted == known or (wanted == key and key not in figure.matrices):
            return key
    raise NoSuchFigure(f"plot: {name!r} has no state {wanted!r}; there is {_listed(wanted, names)}")


def _listed(wanted: str, names: list[str]) -> str:
    """The names, those like the wanted one first."""
    if not names:
        return "none: the run holds no records to draw"
    close = get_close_matches(wanted, names, n=_MOST_NAMED, cutoff=0.5)
    first = [*close, *(name for name in names if name not in close)][:_MOST_NAMED]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return ", ".join(map(repr, first)) + more


def as_plotly(model: str, figure: Figure, key: str) -> dict[str, Any]:
    """The figure in a state as plotly's dictionary: white ground, titled with what is shown and the model."""
    variant = figure.variant(key)
    data = [
        {name: unpacked(value) for name, value in merged(trace, over).items()}
        for trace, over in zip(figure.data, variant.data, strict=True)
    ]
    layout = merged(merged(LIGHT, figure.layout), variant.layout)
    heading = _wrapped(variant.label, _HEADING_LETTERS)
    below = _wrapped(" · ".join(filter(None, [model, variant.note])), _LINE_LETTERS)
    above = 40 + 22 * len(heading) + 18 * len(below) + (34 if "legend" in layout else 0)
    margin = layout["margin"]
    height = layout["height"] + above - margin["t"]
    title = {
        "text": "<br>".join([*heading, *(f'<span style="font-size:13px">{line}</span>' for line in below)]),
        "font": {"size": 16},
        "x": 0,
        "xanchor": "left",
        "y": 1 - 26 / height,
        "yanchor": "top",
        "pad": {"l": 16},
    }
    sized = {
        "title": title,
        "width": _WIDTH,
        "height": height,
        "margin": {**margin, "l": 16, "r": 16, "t": above, "b": margin["b"] + 8},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
    }
    return {"data": data, "layout": merged(layout, sized)}


def _wrapped(text: str, letters: int) -> list[str]:
    """Lines of at most so many letters, as text that plotly does not take for markup."""
    lines, rest = [], visible(text)
    while len(rest) > letters:
        at = rest.rfind(" ", letters // 2, letters) + 1 or letters
        lines.append(rest[:at].rstrip())
        rest = rest[at:]
    return [as_html(line) for line in [*lines, rest]]
