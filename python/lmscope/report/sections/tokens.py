"""A passage as its tokens: what Lasso selects for one of them, and what attention does."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from lmscope.report.figures import BLUE, STATE, VERMILLION, Figure, Variant, of_trace
from lmscope.report.records import Records
from lmscope.report.sections import Section
from lmscope.report.token_methods import METHODS, WITHOUT_BUDGET
from lmscope.report.token_positions import Position, how_many, shown_positions
from lmscope.report.token_strip import rules, scored, strip
from lmscope.report.token_text import alone
from lmscope.report.words import as_html, number, percent

ORDER = 40

_RANKED = 12
_UNMARKED = ("random", "complement", *WITHOUT_BUDGET)
_FIRST = "lasso"
_PREFERRED_K = 8

_TEMPLATE = """
<style>{{ rules }}</style>
<div class="controls">
<label>Position <select data-switch="tokens">
{% for passage, positions in groups %}
<optgroup label="{{ passage }}">
{% for position in positions %}
<option value="{{ position.key }}">{{ position.name }}</option>
{% endfor %}
</optgroup>
{% endfor %}
</select></label>
<span class="together">
<button data-step="-1" data-of="tokens" aria-label="previous position">‹</button>
<button data-step="1" data-of="tokens" aria-label="next position">›</button></span>
<span class="together" role="radiogroup" aria-label="how many tokens are selected">k
{% for k in ks %}
<label><input type="radio" name="tokens-k" id="tokens-k-{{ k }}"
{%- if k == first_k %} checked{% endif %}>{{ k }}</label>
{% endfor %}</span>
{% if others %}
<label>Beside Lasso <select>
{% for mark, label in others %}<option value="{{ mark }}">{{ label }}</option>{% endfor %}
</select></label>
{% endif %}
<button data-save="tokens">Data (CSV)</button>
</div>
<p class="note strip key">{{ held }}.
<i class="target">token</i> the target, <i class="first">token</i> selected by Lasso,
{%- if others %} <i class="second">token</i> by the other selector,{% endif %}
&#32;<button tabindex="-1">token</button> another sampled position: click it; ↵ new line,
<span class="plain-text">␣ space.</span></p>
<h3 class="chosen" data-title="tokens"></h3>
<div data-html="tokens"></div>
<h3>Both rankings</h3>
<div class="figure" id="tokens" role="img" aria-label="Order of entry into the Lasso beside attention"></div>
"""


def section(records: Records) -> Section | None:
    positions = shown_positions(records)
    if not positions:
        return None
    by_key = {position.key: position for position in positions}
    ks = sorted({row["k"] for position in positions for row in position.selections})
    methods = {row["method"] for position in positions for row in position.selections}
    marked = [method for method in METHODS if method in methods and method not in _UNMARKED]
    marks = {method: f"m{number}" for number, method in enumerate(marked)}
    if _FIRST not in marks or not ks:
        return None
    scores = scored(positions)
    groups = [(name, list(group)) for name, group in groupby(positions, key=lambda one: one.passage_name)]
    neighbours = dict(groups)

    def variant(key: str) -> Variant:
        position = by_key[key]
        near = neighbours[position.passage_name]
        left, right = _entries(position), _attention(position)
        return Variant(
            position.name,
            [_bars(position, left, right, number), _bars(position, right, left, percent)],
            {"xaxis2": {"visible": bool(right)}, "annotations": [] if right else [_NO_ATTENTION]},
            html=strip(position, marks, near, scores),
            note="order of entry into the Lasso beside attention in the last block",
        )

    figure = Figure(
        [_base(BLUE, ""), _base(VERMILLION, "2")],
        _LAYOUT,
        {position.key: position.name for position in positions},
        variant,
        first=positions[0].key,
        columns=["position", "ranking", "token", "alpha of entry over the largest, or share of attention"],
        parts=[
            [STATE, "order of entry into the Lasso", of_trace(0, "y"), of_trace(0, "x")],
            [STATE, "attention, last block", of_trace(1, "y"), of_trace(1, "x")],
        ],
    )
    return Section(
        key="tokens",
        title="Tokens: what Lasso and attention select",
        template=_TEMPLATE,
        values={
            "rules": rules(marks, ks, _FIRST),
            "groups": groups,
            "ks": ks,
            "first_k": min(ks, key=lambda k: abs(k - _PREFERRED_K)),
            "others": [(mark, METHODS[method].label) for method, mark in marks.items() if method != _FIRST],
            "held": how_many(records, positions),
        },
        shows="A passage as the model reads it, token by token. For the token marked as the target, the k "
        "earlier ones that Lasso needs to rebuild its state are filled, those of the other selector "
        "underlined. Below, the divergences (KL) tell how far the model's next-token distribution moves when "
        "only these are kept. The bars are the order of entry into the Lasso and the attention in the last "
        f"block, the first {_RANKED} of each; full colour: in both rankings.",
        surprise="Two selectors that choose the same tokens where one is told nothing of the other. "
        "Attention that goes nearly all to the first token is a sink: it says nothing of the text.",
        figure=figure,
    )


Entries = dict[int, float]


def _entries(position: Position) -> Entries:
    """Token -> alpha of entry over the largest, of the first to enter."""
    order, alphas = position.row["lasso_order"], position.row["lasso_alphas"]
    taken: Entries = {}
    for place, alpha in zip(order, alphas, strict=True):
        if place not in taken and len(taken) < _RANKED:
            taken[place] = float(alpha / alphas[0]) if alphas[0] else 0.0
    return taken


def _attention(position: Position) -> Entries:
    """Token before the position -> its share of the attention, largest first."""
    mass = position.row["attention"]
    if mass is None:
        return {}
    before = np.asarray(mass)[: position.place]
    return {int(place): float(before[place]) for place in np.argsort(-before, kind="stable")[:_RANKED]}


def _bars(position: Position, entries: Entries, others: Entries, words: Any) -> dict[str, Any]:
    names = [f"{place} {alone(position.passage['tokens'][place])}" for place in entries]
    return {
        "x": list(entries.values()),
        "y": [as_html(name) for name in names],
        "marker": {"opacity": [1.0 if place in others or not others else 0.45 for place in entries]},
        "hovertext": [
            f"{as_html(name)}: {words(value)}" for name, value in zip(names, entries.values(), strict=True)
        ],
    }


def _base(colour: str, axis: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "marker": {"color": colour},
        "hoverinfo": "text",
        "textposition": "none",
        "showlegend": False,
    }


_NO_ATTENTION = {
    "text": "no attention weights",
    "xref": "paper",
    "yref": "paper",
    "x": 0.79,
    "y": 0.5,
    "showarrow": False,
}


def _axes(domain: list[float], title: str, form: str) -> tuple[dict[str, Any], dict[str, Any]]:
    x = {
        "domain": domain,
        "title": {"text": title},
        "rangemode": "tozero",
        "fixedrange": True,
        "tickformat": form,
    }
    y = {
        "type": "category",
        "autorange": "reversed",
        "fixedrange": True,
        "showgrid": False,
        "automargin": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "rgba(0,0,0,0)",
    }
    return x, y


_LEFT_X, _LEFT_Y = _axes([0, 0.42], "Lasso: alpha of entry, of the largest", "")
_RIGHT_X, _RIGHT_Y = _axes([0.58, 1], "attention: share of the mass", ".0%")
_LAYOUT: dict[str, Any] = {
    "height": 360,
    "margin": {"l": 10, "r": 10, "t": 10, "b": 44},
    "bargap": 0.25,
    "xaxis": _LEFT_X,
    "yaxis": _LEFT_Y,
    "xaxis2": {**_RIGHT_X, "anchor": "y2"},
    "yaxis2": {**_RIGHT_Y, "anchor": "x2"},
}
