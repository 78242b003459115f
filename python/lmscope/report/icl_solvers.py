"""Several solvers on the same tasks against one size: chart, table and sentences of two sections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, VERMILLION, Figure, Variant
from lmscope.report.icl_charts import cell_words, layout, logarithmic, size_axis, value_axis
from lmscope.report.icl_names import SOLVERS
from lmscope.report.icl_rows import (
    BANDS,
    GEOMETRIC,
    LINE_COLUMNS,
    LOG_BANDS,
    Band,
    Choice,
    Point,
    at_settings,
    band,
    band_words,
    choices_of,
    chosen,
    fixed_words,
    line_data,
    line_part,
    line_traces,
    not_at_rest,
    nothing_there,
    points_of,
    reasons,
    states_of,
    view_choice,
)
from lmscope.report.records import Records, Row
from lmscope.report.templates import render
from lmscope.report.words import as_html, count, number, plain

TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, key) }}
<div class="figure" id="{{ key }}" role="img" aria-label="{{ label }}"></div>
<div data-html="{{ key }}"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
{% for text in said %}<p>{{ text }}</p>{% endfor %}
{% for text in warned %}<p class="warning">{{ text }}</p>{% endfor %}
<div class="scroll"><table><thead><tr><th class="n">{{ title }}
{% for name in names %}<th class="n">{{ name }}{% endfor %}</tr></thead><tbody>
{% for at, cells in rows %}
<tr><td class="n">{{ at | number }}{% for cell in cells %}<td class="n">{{ cell }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""

_AMP = ("amp", "amp_without_onsager")
_DASHES = ("solid", "dash", "dashdot", "dot")


@dataclass(frozen=True)
class _Look:
    name: str
    colour: str
    symbol: str = "circle"
    dash: str = "solid"


_LOOKS = {
    "ground_state": _Look(SOLVERS["ground_state"], BLUE),
    "amp": _Look(SOLVERS["amp"], ORANGE, "diamond-open", "dot"),
    "amp_without_onsager": _Look(SOLVERS["amp_without_onsager"], GREEN, "square-open", "dash"),
    "adam": _Look(SOLVERS["adam"], VERMILLION, "triangle-up"),
    "population": _Look(SOLVERS["population"], GREY, "line-ew-open", "dash"),
}


@dataclass(frozen=True)
class _View:
    name: str
    axis: str
    note: str


_VIEWS = {
    "loss": _View(
        "loss on unseen tasks",
        "mean squared error",
        "Labels have mean square 1: that is the loss of answering 0 always",
    ),
    "difference": _View(
        "loss less the ground state's",
        "loss less the ground state's",
        "Seed by seed, from the ground state of the same tasks and regularization; below 0 the solver does "
        "better on unseen tasks than the weights that it is on its way to",
    ),
    "contrast": _View(
        "contrast ratio",
        "contrast ratio ⟨W, I⟩ / (|W| |I|)",
        "Cosine between the learnt weights and the identity; √(D / (D + 1)) at best",
    ),
    "diagonal": _View(
        "diagonal weights",
        "mean of the diagonal weights",
        "Weights that multiply an entry of a token with the same entry of the query",
    ),
}


@dataclass(frozen=True)
class Line:
    """A solver, with one of its regularizations."""

    solver: str
    regularization: float
    look: _Look

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """Its rows; without numbers where message passing did not come to an end."""
        found = at_settings(rows, {"solver": self.solver, "regularization": self.regularization})
        return [_without_numbers(row) if row["solver"] in _AMP and _stopped(row) else row for row in found]


def _stopped(row: Row) -> bool:
    return row["converged"] is False


def _without_numbers(row: Row) -> Row:
    return {**row, **dict.fromkeys(("loss", "contrast", "diagonal"))}


def solver_figure(
    rows: Sequence[Row], *, x: str, columns: Sequence[str], words: str, title: str, log: bool = True
) -> tuple[Figure, list[Choice]]:
    """The chart against the column ``x``, and the choices of what it shows.

    ``columns`` are the settings to choose; ``words`` is what x is called beside a number, ``title`` on its
    axis, which is logarithmic over more than a decade where ``log``.
    """
    lines = lines_of(rows)
    shown = {key: view.name for key, view in _VIEWS.items() if any(_seen(rows, one, key, x) for one in lines)}
    choices = choices_of(rows, columns, view_choice("view", "Lines show", shown or {"loss": "loss"}))
    states = states_of(choices)

    def variant(key: str) -> Variant:
        settings = chosen(choices, key)
        some = at_settings(rows, settings)
        return _variant(some, lines, settings["view"], x, words, title, states[key], fixed_words(choices))

    figure = Figure(
        [
            trace
            for one in lines
            for trace in line_traces(
                as_html(one.look.name), one.look.colour, dash=one.look.dash, symbol=one.look.symbol
            )
        ],
        layout(size_axis((row[x] for row in rows), title, log=log)),
        {key: name[0].upper() + name[1:] for key, name in states.items()},
        variant,
        first=next(iter(states)),
        columns=["line", words, *LINE_COLUMNS[2:]],
    )
    return figure, choices


def lines_of(rows: Sequence[Row]) -> list[Line]:
    """One for each regularization of a solver, named with it where there are several at all."""
    strengths: dict[str, set[float]] = defaultdict(set)
    for row in rows:
        strengths[row["solver"]].add(row["regularization"])
    told = len(set().union(*(some for solver, some in strengths.items() if solver != "population"))) > 1
    found = []
    for solver in [*_LOOKS, *sorted(strengths.keys() - _LOOKS.keys())]:
        look = _LOOKS.get(solver, _Look(plain(solver), GREY, "x"))
        several = sorted(strengths.get(solver, ()))
        for at, strength in enumerate(several):
            name = f"{look.name}, λ₀ = {number(strength)}" if told and solver != "population" else look.name
            dash = _DASHES[at % len(_DASHES)] if at else look.dash
            found.append(Line(solver, strength, replace(look, name=name, dash=dash)))
    return found


def differences(rows: Sequence[Row], one: Line, x: str) -> list[Row]:
    """Rows of a line with ``difference``: the loss less that of the ground state of the same tasks and
    regularization; those that have both."""
    ground = {
        (row[x], row["seed"], row["regularization"]): row["loss"]
        for row in rows
        if row["solver"] == "ground_state" and row["loss"] is not None
    }
    places = [(row, (row[x], row["seed"], row["regularization"])) for row in one.of(rows)]
    return [
        {**row, "difference": row["loss"] - ground[place]}
        for row, place in places
        if row["loss"] is not None and place in ground
    ]


def _seen(rows: Sequence[Row], one: Line, view: str, x: str) -> list[Point]:
    if view == "difference":
        own = one.solver not in ("ground_state", "population")
        return points_of(differences(rows, one, x), x, "difference") if own else []
    found = points_of(one.of(rows), x, view)
    if one.solver != "population":
        return found
    # The same number for every seed.
    return [replace(point, band=replace(point.band, low=None, high=None)) for point in found]


def _variant(
    rows: Sequence[Row],
    lines: Sequence[Line],
    view: str,
    x: str,
    words: str,
    title: str,
    label: str,
    fixed: str,
) -> Variant:
    shown = [_seen(rows, one, view, x) for one in lines]
    log = view == "loss" and logarithmic(shown)
    known = [(one, points) for one, points in zip(lines, shown, strict=True) if points]
    label = label[0].upper() + label[1:]
    if not known:
        return nothing_there(label, rows, 3 * len(lines))
    looks = _VIEWS[view]
    axis = (
        {"title": {"text": looks.axis}, "zeroline": True}
        if view == "difference"
        else value_axis(looks.axis, shown, log=log)
    )
    cells = [{point.x: cell_words(point.band) for point in points} for _, points in known]
    note = ". ".join([looks.note, LOG_BANDS if view in GEOMETRIC else BANDS, *([fixed] if fixed else [])])
    return Variant(
        label,
        [
            trace
            for one, points in zip(lines, shown, strict=True)
            for trace in line_data(points, _hover_of(one.look.name, words))
        ],
        {"yaxis": axis},
        html=render(
            _BELOW,
            note=note,
            said=said(rows, lines, x, words) if view in ("loss", "difference") else [],
            warned=warned(rows, lines),
            title=title[0].upper() + title[1:],
            names=[one.look.name for one, _ in known],
            rows=[
                (at, [of_line.get(at, "–") for of_line in cells])
                for at in sorted({at for of_line in cells for at in of_line})
            ],
        ),
        note=", ".join(filter(None, [fixed, "bands over seeds"])),
        parts=[line_part(one.look.name, points) for one, points in known],
    )


def _hover_of(name: str, words: str) -> Any:
    return lambda point: f"<b>{as_html(name)}</b>, {words} {number(point.x)}<br>{band_words(point.band)}"


def said(rows: Sequence[Row], lines: Sequence[Line], x: str, words: str) -> list[str]:
    """What training leaves between itself and the ground state, over all of x: one mean a seed, as seeds are
    independent and the points of one seed are not."""
    sentences = []
    for one in lines:
        by_seed: dict[int, list[float]] = defaultdict(list)
        pairs = differences(rows, one, x)
        for row in pairs:
            by_seed[row["seed"]].append(row["difference"])
        if one.solver != "adam" or not by_seed:
            continue
        places = max(map(len, by_seed.values()))
        whole = [fmean(gaps) for gaps in by_seed.values() if len(gaps) == places]
        rest = not_at_rest("Adam", pairs)
        over = f"the mean over {count(places, words)}" if places > 1 else f"of one {words}"
        sentences.append(
            f"{one.look.name} less ground state, {over}: {band_words(band(whole))}{_judged(band(whole))}"
            f"{f'; {rest}' if rest else ''}."
        )
    return sentences


def training_sentences(records: Records) -> list[str]:
    """Of the page's head: what training leaves between itself and the ground state, by sizes."""
    rows = records.rows("amp_vs_training")
    return [
        f"Training, D = {number(dimension)}, P = {number(tasks)}: {sentence}"
        for dimension, tasks in sorted({(row["dimension"], row["tasks"]) for row in rows})
        for some in [at_settings(rows, {"dimension": dimension, "tasks": tasks})]
        for sentence in said(some, lines_of(some), "prompt_length", "prompt length")
    ]


def _judged(found: Band) -> str:
    if found.low is None or found.high is None:
        return ""
    if found.low <= 0 <= found.high:
        return "; the interval holds 0, so that no difference is shown"
    return f"; training ends {'above' if found.mean > 0 else 'below'} the ground state on unseen tasks"


def warned(rows: Sequence[Row], lines: Sequence[Line]) -> list[str]:
    """What was left out, and why numbers are missing."""
    found = []
    for one in lines:
        some = at_settings(rows, {"solver": one.solver, "regularization": one.regularization})
        stopped = [row for row in some if _stopped(row)]
        if stopped:
            left = "left out" if one.solver in _AMP else "shown as they are"
            told = list(dict.fromkeys(row["reason"] for row in stopped if row["reason"]))
            # Each names its own spin and number.
            why = f"{', such as: ' if len(told) > 1 else ': '}{told[0]}" if told else ""
            found.append(
                f"{one.look.name} did not come to an end in {number(len(stopped))} of "
                f"{count(len(some), 'run')}, {left}{why}."
            )
        why = reasons(row for row in some if not _stopped(row))
        if why:
            found.append(f"{one.look.name}: {why}.")
    return found
