"""How many teachers, and of what kind, the tasks must have before unseen ones are understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmscope.report.figures import BLUE, GREEN, GREY, PURPLE, VERMILLION, Figure, Variant
from lmscope.report.icl_charts import cell_words, layout, logarithmic, size_axis, value_axis
from lmscope.report.icl_names import SOLVERS, TEACHERS
from lmscope.report.icl_rows import (
    LINE_COLUMNS,
    LOG_BANDS,
    Choice,
    Point,
    at_settings,
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
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import as_html, number, plain

ORDER = 88

_TEACHERS = {kind: f"{name} teachers" for kind, name in TEACHERS.items()}
_SOLVERS = {name: SOLVERS[name] for name in ("ground_state", "adam")}
_LOSSES = {
    "loss_seen": "unseen prompts of teachers seen",
    "loss_unseen": "unseen teachers of the same kind",
    "loss_isotropic": "unseen dense teachers",
    "training_loss": "the tasks themselves",
}
_COLOURS = {"dense": (BLUE, "circle"), "sparse": (VERMILLION, "square"), "low_rank": (GREEN, "diamond")}
_LOSS_LOOKS = {
    "loss_seen": (GREEN, "diamond", "solid"),
    "loss_unseen": (BLUE, "circle", "solid"),
    "loss_isotropic": (PURPLE, "square-open", "dash"),
    "training_loss": (GREY, "x", "dot"),
}
_DISTANCES = {"distance_w11": "block, mean (W₁₁ − I)²", "distance_w21": "label row, mean W₂₁²"}
_ARGUMENT = {"cross_task_w11": "block, mean (W₁₁ − I)²", "cross_task_w21": "label row, mean W₂₁²"}
_DISTANCE_NOTE = "Means over the entries of the solver's own weights, which minimise the loss on the tasks"
_ARGUMENT_NOTE = (
    "Means over the entries of weights of their own, the same for every solver, that minimise the mean over "
    "tasks of |(w W₂₁'/√D + W₁₁) C − I|², C the tokens' covariance in a prompt and w its teacher: the "
    "cross-task argument"
)

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "diversity") }}
<div class="figure" id="diversity" role="img"
aria-label="Losses against the number of distinct teachers"></div>
<div data-html="diversity"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
{% if unrested %}<p class="warning">{{ unrested }}.</p>{% endif %}
{% if why %}<p class="warning">{{ why }}.</p>{% endif %}
<div class="scroll"><table><thead><tr><th class="n">Distinct teachers
{% for name in names %}<th class="n">{{ name[0] | upper }}{{ name[1:] }}{% endfor %}</tr></thead><tbody>
{% for at, cells in rows %}
<tr><td class="n">{{ at | number }}{% for cell in cells %}<td class="n">{{ cell }}{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""


@dataclass(frozen=True)
class _Line:
    """What a line shows: a column of the rows of one kind of teacher, or of the kind that is chosen."""

    name: str
    column: str
    teacher: str | None
    colour: str
    symbol: str
    dash: str = "solid"

    def points(self, rows: Sequence[Row]) -> list[Point]:
        some = rows if self.teacher is None else at_settings(rows, {"teacher": self.teacher})
        return points_of(some, "distinct_teachers", self.column)


@dataclass(frozen=True)
class _View:
    """``teacher``: whose rows, None for all kinds."""

    lines: list[_Line]
    teacher: str | None
    axis: str
    note: str = ""


def section(records: Records) -> Section | None:
    rows = records.rows("diversity")
    if not rows:
        return None
    kinds = [kind for kind in _TEACHERS if any(row["teacher"] == kind for row in rows)]
    views = _views(rows, kinds)
    choices = choices_of(
        rows,
        ("dimension", "prompt_length", "tasks"),
        view_choice("view", "Lines show", {key: name for key, (name, _) in views.items()}),
        _solvers(rows),
    )
    states = states_of(choices)
    lines = list(dict.fromkeys(line for _, view in views.values() for line in view.lines))

    def variant(key: str) -> Variant:
        settings = chosen(choices, key)
        _, view = views[settings.pop("view")]
        some = at_settings(rows, settings)
        if view.teacher is not None:
            some = at_settings(some, {"teacher": view.teacher})
        return _variant(some, lines, view, states[key], fixed_words(choices))

    figure = Figure(
        [
            trace
            for line in lines
            for trace in line_traces(as_html(line.name), line.colour, dash=line.dash, symbol=line.symbol)
        ],
        layout(size_axis((row["distinct_teachers"] for row in rows), "distinct teachers among the tasks")),
        states,
        variant,
        first=next(iter(states)),
        columns=["line", "distinct teachers", *LINE_COLUMNS[2:]],
    )
    return Section(
        key="diversity",
        title="Diversity of the teachers",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="The number of tasks stays the same, but they share fewer or more teachers. With few of them "
        "it pays to remember these, with many to learn from the prompt: the loss on teachers seen and on "
        "unseen ones come together where the second begins. Sparse teachers use few entries of a token, "
        "low-rank ones lie in a subspace. Experiment diversity.",
        surprise="Unseen teachers as good as those seen from a single one on. Weights fitted to sparse or "
        "low-rank teachers that do as well on dense ones have learnt to read prompts; a gap between the two "
        "says that they have learnt the kind.",
        figure=figure,
    )


def _views(rows: Sequence[Row], kinds: list[str]) -> dict[str, tuple[str, _View]]:
    def held(column: str, kind: str | None = None) -> bool:
        return any(row[column] is not None for row in rows if kind in (None, row["teacher"]))

    losses = [
        _Line(name, column, None, *_LOSS_LOOKS[column]) for column, name in _LOSSES.items() if held(column)
    ]
    found = {
        f"{kind}": (_first_upper(_TEACHERS[kind]), _View(losses, kind, "mean squared error"))
        for kind in kinds
    }
    if len(kinds) > 1:
        for column, name in _LOSSES.items():
            if held(column):
                lines = [_Line(_TEACHERS[kind], column, kind, *_COLOURS[kind]) for kind in kinds]
                view = _View(lines, None, f"mean squared error, {name}")
                found[column] = (f"Kinds compared: {name}", view)
    for key, title, names, note in (
        ("distance", "Distance from the identity", _DISTANCES, _DISTANCE_NOTE),
        ("cross_task", "Cross-task argument", _ARGUMENT, _ARGUMENT_NOTE),
    ):
        distances = [
            _Line(
                f"{_TEACHERS[kind]}: {name}" if len(kinds) > 1 else name,
                column,
                kind,
                _COLOURS[kind][0],
                _COLOURS[kind][1] + ("-open" if column.endswith("w21") else ""),
                "dash" if column.endswith("w21") else "solid",
            )
            for kind in kinds
            for column, name in names.items()
            if held(column, kind)
        ]
        if distances:
            found[key] = (title, _View(distances, None, "mean squared distance of an entry", note))
    return found


def _solvers(rows: Sequence[Row]) -> Choice:
    held = sorted({row["solver"] for row in rows}, key=lambda name: [*_SOLVERS, name].index(name))
    return view_choice("solver", "Solver", {name: _SOLVERS.get(name, plain(name)) for name in held})


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _variant(rows: Sequence[Row], lines: list[_Line], view: _View, label: str, fixed: str) -> Variant:
    shown = {line: line.points(rows) for line in view.lines}
    log = logarithmic(shown.values())
    known = {line: points for line, points in shown.items() if points}
    if not known:
        return nothing_there(label, rows, 3 * len(lines))
    cells = [{point.x: cell_words(point.band) for point in points} for points in known.values()]
    note = ". ".join(filter(None, [LOG_BANDS, view.note, fixed]))
    why = reasons(rows)
    return Variant(
        label,
        [trace for line in lines for trace in line_data(shown.get(line, []), _hover_of(line.name))],
        {"yaxis": value_axis(view.axis, shown.values(), log=log)},
        html=render(
            _BELOW,
            note=note,
            why=why,
            unrested=not_at_rest("Adam", rows),
            names=[line.name for line in known],
            rows=[
                (at, [of_line.get(at, "–") for of_line in cells])
                for at in sorted({at for of_line in cells for at in of_line})
            ],
        ),
        note=", ".join(filter(None, [fixed, "bands over seeds"])),
        parts=[line_part(line.name, points) for line, points in known.items()],
    )


def _hover_of(name: str) -> Callable[[Point], str]:
    def hover(point: Point) -> str:
        teachers = "teacher" if point.x == 1 else "teachers"
        return f"<b>{as_html(name)}</b>, {number(point.x)} {teachers}<br>{band_words(point.band)}"

    return hover
