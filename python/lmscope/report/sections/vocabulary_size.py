"""How the fit holds against the number of tokens that it is asked of."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from lmscope.report.figures import BLUE, STATE, Figure, Variant, of_trace
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.unembedding_rows import Choices, checkpoints, names, of_label
from lmscope.report.words import as_html, number

ORDER = 61

_MEASURES: Choices = {"adjusted_r2": "Adjusted R²", "r2": "R²", "cosine": "Cosine with minus the mean state"}
_NOTES = {
    "adjusted_r2": "R² less what as many random coordinates explain by chance; 0 for shuffled rows, whatever "
    "the size",
    "r2": "as it is: below a few times as many tokens as coordinates it is high by chance",
    "cosine": "of the slope with minus the mean state; random directions have 0 on average",
}

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice, checkpoint_choice %}
<div class="controls">{{ part_choice("Lines show", measures, "vocabulary_size") }}
{{ checkpoint_choice(of, "vocabulary_size") }} <button data-save="vocabulary_size">Data (CSV)</button></div>
<p class="note" data-html="vocabulary_size"></p>
<div class="figure" id="vocabulary_size" role="img"
aria-label="Fit against the size of sub-vocabularies"></div>
"""


def section(records: Records) -> Section | None:
    shown = checkpoints(records, "vocabulary_size")
    if not shown:
        return None
    of = names(shown)
    rows = {one.key: one.rows(records, "vocabulary_size") for one in shown}
    held = {
        measure: name
        for measure, name in _MEASURES.items()
        if any(row[measure] is not None for some in rows.values() for row in some)
    }
    states = {
        f"{measure}:{one.key}": of_label(name, shown, one) for one in shown for measure, name in held.items()
    }

    def variant(key: str) -> Variant:
        measure, at = key.split(":")
        return _variant(rows[at], measure, states[key])

    figure = Figure(
        [
            {
                "type": "scatter",
                "mode": "markers",
                "name": "one draw",
                "marker": {"color": BLUE, "size": 7, "opacity": 0.5},
                "cliponaxis": False,
                "hoverinfo": "text",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "mean of the draws",
                "line": {"color": BLUE, "width": 2},
                "hoverinfo": "skip",
            },
        ],
        {
            "height": 380,
            "margin": {"l": 10, "r": 20, "t": 34, "b": 44},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "type": "log",
                "title": {"text": "tokens in the sub-vocabulary"},
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
            },
            "yaxis": {"automargin": True, "fixedrange": True, "zeroline": False},
        },
        states,
        variant,
        first=next(iter(states)),
        columns=["what", "tokens", "draw", STATE],
    )
    return Section(
        key="vocabulary_size",
        title="Size of the output space",
        template=_TEMPLATE,
        values={"measures": held, "of": of},
        shows="The same fit over random parts of the vocabulary, one point per draw, against how many tokens "
        "they have. Draws of one size differ by which tokens they caught.",
        surprise="A line that falls with size: few coordinates cannot hold what the rest of the vocabulary "
        "needs. This is no model with a small vocabulary: probabilities keep the normaliser of the whole "
        "one, so that a flat line does not refute the claim that large output spaces encode more accurately.",
        figure=figure,
    )


def _variant(rows: list[Row], measure: str, label: str) -> Variant:
    some = [row for row in rows if row[measure] is not None]
    sizes = sorted({row["size"] for row in some})
    means = [fmean(row[measure] for row in some if row["size"] == size) for size in sizes]
    dimensioned: dict[str, Any] = {"yaxis": {"title": {"text": _MEASURES[measure]}}}
    if sizes:
        dimensioned["xaxis"] = {
            "tickmode": "array",
            "tickvals": _spread(sizes),
            "ticktext": [number(size) for size in _spread(sizes)],
        }
    return Variant(
        label,
        [
            {
                "x": [row["size"] for row in some],
                "y": [row[measure] for row in some],
                "hovertext": [
                    f"{number(row['size'])} tokens, draw {row['draw']}: {number(row[measure], 4)}"
                    for row in some
                ],
            },
            {"x": sizes, "y": means},
        ],
        dimensioned,
        html=as_html(_NOTES[measure]),
        note=_NOTES[measure],
        parts=[
            ["draw", of_trace(0, "x"), [row["draw"] for row in some], of_trace(0, "y")],
            ["mean", of_trace(1, "x"), None, of_trace(1, "y")],
        ],
    )


def _spread(sizes: list[int]) -> list[int]:
    """At most six of them, the last among them."""
    step = -(-len(sizes) // 6)
    return sizes[::-1][::step][::-1]
