"""A passage as a strip of tokens, with marks for every method and k that the reader may choose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lmscope.report.templates import render
from lmscope.report.token_methods import METHODS, SCORES, look_of
from lmscope.report.token_positions import Position
from lmscope.report.token_text import in_text
from lmscope.report.words import number
from lmscope.visible import visible

_SCORES = """
{% from "controls.html.jinja" import heading %}
<div class="controls"><h3>Scores here</h3><button data-save="tokens-scores">Data (CSV)</button></div>
<div class="scroll"><table class="sortable" id="tokens-scores" data-file="tokens-scores-{{ position.key }}">
<thead><tr>{{ heading("Selector") }}{{ heading("k", true) }}
{% for score in scores.values() %}{{ heading(score.label, true) }}{% endfor %}</tr></thead>
<tbody>
{% for row, mark in rows %}
<tr class="of-k k{{ row.k }} {{ mark }}"><td>{{ look_of(row.method).label }}
<td class="n">{{ row.k }}
{% for score in scores %}{% set value = row[score] %}
<td class="n" data-sort="{{ "%.6g" | format(value) if value is not none }}">{{ value | number }}
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
"""


def scored(positions: Sequence[Position]) -> dict[str, Any]:
    """The scores that any choice at these positions has."""
    rows = [row for position in positions for row in position.selections]
    return {key: score for key, score in SCORES.items() if any(row[key] is not None for row in rows)}


def strip(position: Position, marks: Mapping[str, str], neighbours: Sequence[Position], scores: Any) -> str:
    """The passage's tokens in reading order, then the scores of every choice.

    ``marks`` gives the class of each method; a token chosen at k carries the class and k. ``neighbours`` are
    the positions of the same passage that a click shows.
    """
    classes: dict[int, list[str]] = defaultdict(list)
    for row in position.selections:
        if row["method"] in marks:
            for place in row["selected"]:
                classes[place].append(f"{marks[row['method']]}k{row['k']}")
    keys = {neighbour.place: neighbour.key for neighbour in neighbours}
    tokens = [
        _token(place, token, special, position.place, classes[place], keys.get(place))
        for place, (token, special) in enumerate(
            zip(position.passage["tokens"], position.passage["special"], strict=True)
        )
    ]
    rows = [
        (row, marks.get(row["method"], ""))
        for row in sorted(position.selections, key=lambda row: (row["k"], _rank(row["method"])))
    ]
    below = render(_SCORES, position=position, rows=rows, scores=scores, look_of=look_of)
    return Markup('<div class="strip">{}</div>{}{}').format(Markup("").join(tokens), _said(position), below)


def _said(position: Position) -> Markup:
    loss, missing = position.row["loss"], visible(position.row["left_out"])
    words = [
        *([f"The model gave this token a loss of {number(loss)} nats."] if loss is not None else []),
        *([f"{missing}."] if missing else []),
    ]
    return Markup('<p class="note">{}</p>').format(" ".join(words)) if words else Markup("")


def _rank(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS)


def _token(place: int, token: str, special: bool, target: int, classes: list[str], key: str | None) -> Markup:
    kind = ["target"] if place == target else ["later"] if place > target else classes
    names = [*kind, *(["special"] if special else [])]
    words = Markup(' class="{}"').format(" ".join(names)) if names else Markup("")
    new_line = Markup("<br>") if "\n" in token else Markup("")
    if key is None or place == target:
        return Markup("<i{}>{}</i>{}").format(words, in_text(token), new_line)
    return Markup('<button{} data-show="tokens" data-key="{}" title="token {}">{}</button>{}').format(
        words, key, place, in_text(token), new_line
    )


def rules(marks: Mapping[str, str], ks: Sequence[int], first: str) -> Markup:
    """Style that shows the marks of the k and of the second method that are chosen, and their scores."""
    lines: list[str] = []
    for k in ks:
        chosen = f"#section-tokens:has(#tokens-k-{k}:checked)"
        lines.append(f"{chosen} .of-k:not(.k{k}) {{ display: none; }}")
        lines.append(f"{chosen} .strip .{marks[first]}k{k} {{ background: var(--first); }}")
        for method, mark in marks.items():
            if method != first:
                other = f'{chosen}:has(option[value="{mark}"]:checked)'
                lines.append(f"{other} .strip .{mark}k{k} {{ box-shadow: inset 0 -4px var(--second); }}")
    for mark in marks.values():
        shown = f'#section-tokens:has(option[value="{mark}"]:checked)'
        if mark != marks[first]:
            lines.append(f"{shown} tr.{mark} td:first-child {{ box-shadow: inset 4px 0 var(--second); }}")
    lines.append(
        f"#section-tokens tr.{marks[first]} td:first-child {{ box-shadow: inset 4px 0 var(--bar); }}"
    )
    return Markup("\n".join(lines))
