"""Entropy of the representations by layer, beside noise, the largest possible and the untrained twin."""

from __future__ import annotations

from typing import Any

from lmscope.report.entropy_rows import CheckpointRows, Measure, by_checkpoint, shown_measures
from lmscope.report.figures import GREY, STATE, Figure, Variant, of_trace
from lmscope.report.looks import OTHER_LOOKS, ROLE_LOOKS
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, count, number

ORDER = 42

_REFERENCES = {
    "untrained": ("untrained twin", "dash"),
    "iid": ("random rows", "dot"),
    "cap": ("cap", "dashdot"),
}
_PER_CHECKPOINT = 6
_TICK_EACH_UP_TO_LAYERS = 26

_TEMPLATE = """
{% from "controls.html.jinja" import find, heading, measure_choice %}
{{ measure_choice("Lines show", figure, "entropy", "entropy") }}
<div class="figure" id="entropy" role="img" aria-label="Entropy of the representations by layer"></div>
<p class="note">{{ about }}</p>
{{ find("entropy-table", "checkpoint …") }}
<div class="scroll tall"><table class="sortable" id="entropy-table" data-file="entropy">
<thead><tr>{{ heading("Checkpoint") }}{{ heading("Layer", true) }}
{% for label, long, _ in columns %}{{ heading(label, true, long) }}{% endfor %}</tr></thead>
<tbody>
{% for one in checkpoints %}{% for row in one.rows %}
<tr><td{{ one.label | csv_if_odd }}>{{ one.label }}<td class="n">{{ row.layer }}
{% for _, _, column in columns %}{% set value = row[column] %}
<td class="n" data-sort="{{ value if value is not none }}">{{ value | number }}
{% endfor %}</tr>
{% endfor %}{% endfor %}
</tbody></table></div>
"""

_COLUMNS = [
    ("Normalized", "normalized entropy of all tokens together", "normalized"),
    ("Random rows", "normalized entropy of independent Gaussian rows, as many and as wide", "iid_normalized"),
    ("Untrained", "normalized entropy of the untrained twin", "untrained_normalized"),
    ("Cap", "largest normalized entropy that so many tokens can have", "cap"),
    ("Coding length", "coding length of all tokens together, nats", "coding_length"),
    ("Effective rank", "effective rank of all tokens together", "effective_rank"),
    ("Diff-eRank", "effective rank of the untrained twin less the model's", "diff_erank"),
    ("Passages’ mean", "mean normalized entropy of single passages", "mean_normalized"),
    ("Directions", "equally strong directions of the same entropy", "directions"),
    ("Tokens", "rows of the matrix of states", "tokens"),
    ("Dimensions", "columns of the matrix of states", "dimensions"),
]


def section(records: Records) -> Section | None:
    checkpoints = by_checkpoint(records)
    if not checkpoints:
        return None
    figure = _figure(checkpoints)
    return Section(
        key="entropy",
        title="Entropy: layer by layer",
        template=_TEMPLATE,
        values={
            "figure": figure,
            "checkpoints": checkpoints,
            "columns": [entry for entry in _COLUMNS if _known(checkpoints, entry[2])],
            "about": _about(checkpoints),
        },
        shows="How much of the space the tokens' states fill, from what enters the first block (layer 0) to "
        "what leaves the last. Random rows of the same number and width, and the cap, say what these sizes "
        "alone would give; the untrained twin is the same model with random weights on the same text.",
        surprise="A line at the random rows holds no structure; one far below the untrained twin has "
        "compressed. A last layer unlike the one before is often the final norm. With few tokens for "
        "each dimension the cap is far below 1: compare models at equal numbers only.",
        figure=figure,
    )


def _known(checkpoints: list[CheckpointRows], column: str) -> bool:
    return any(row[column] is not None for one in checkpoints for row in one.rows)


def _about(checkpoints: list[CheckpointRows]) -> str:
    row = checkpoints[0].last
    prepared = [
        "centred" if row["centered"] else "not centred",
        "rows of norm 1" if row["rows_normalized"] else "rows as they are",
        f"ε² = {number(row['epsilon2'])}",
    ]
    norms = [one for one in checkpoints if one.last["final_norm"]]
    after = "after the final norm" if len(norms) == len(checkpoints) else "without a final norm"
    if 0 < len(norms) < len(checkpoints):
        after = f"after the final norm of {', '.join(one.label for one in norms)} only"
    losses = [
        f"{one.label}: {number(one.last['conditional_entropy'])} nats per token"
        for one in checkpoints
        if one.last["conditional_entropy"] is not None
    ]
    return (
        f"{count(row['tokens'], 'token')} of {count(row['passages'], 'passage')}; "
        f"states {', '.join(prepared)}; the last layer {after}."
        + (f" Conditional entropy (mean loss given the context) of {'; '.join(losses)}." if losses else "")
    )


def _figure(checkpoints: list[CheckpointRows]) -> Figure:
    measures = shown_measures(checkpoints)
    looks = [*list(ROLE_LOOKS.values()), *OTHER_LOOKS]
    data = [
        trace
        for index, one in enumerate(checkpoints)
        for trace in _lines(one, *looks[index % len(looks)], many=len(one.rows) > 40)
    ]
    data += [_sample(name, dash) for name, dash in _REFERENCES.values()]

    def variant(key: str) -> Variant:
        measure = measures[key]
        traces = [trace for one in checkpoints for trace in _values(one, measure)]
        traces += [
            {"visible": any(trace["visible"] for trace in traces[3 + place :: _PER_CHECKPOINT])}
            for place in range(len(_REFERENCES))
        ]
        axis = {"title": {"text": measure.label}, "rangemode": "normal" if "diff" in key else "tozero"}
        return Variant(measure.label, traces, {"yaxis": axis}, html=as_html(measure.note), note=measure.note)

    layers = sorted({row["layer"] for one in checkpoints for row in one.rows})
    each = len(layers) <= _TICK_EACH_UP_TO_LAYERS
    return Figure(
        data,
        {
            "height": 420,
            "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "title": {"text": "layer (0: before the first block)"},
                "range": [layers[0] - 0.3, layers[-1] + 0.3],
                "automargin": True,
                "zeroline": False,
                "showgrid": False,
                "fixedrange": True,
                "tickformat": "d",
                **({"tickmode": "array", "tickvals": layers} if each else {"nticks": 20}),
            },
            "yaxis": {"automargin": True, "fixedrange": True},
        },
        {key: measure.label for key, measure in measures.items()},
        variant,
        first="normalized",
        columns=[
            "checkpoint",
            "parameters",
            "layer",
            STATE,
            "low",
            "high",
            "untrained twin",
            "random rows",
            "cap",
        ],
        parts=[
            [
                one.label,
                one.last["parameters"],
                *(of_trace(_PER_CHECKPOINT * index + 2, of) for of in "xy"),
                *(of_trace(_PER_CHECKPOINT * index + trace, "y") for trace in (0, 1, 3, 4, 5)),
            ]
            for index, one in enumerate(checkpoints)
        ],
    )


def _lines(one: CheckpointRows, colour: str, symbol: str, *, many: bool) -> list[dict[str, Any]]:
    """Both ends of the band, the values, and what they are seen beside."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    shared: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": [row["layer"] for row in one.rows],
        "legendgroup": one.label,
        "showlegend": False,
        "hoverinfo": "skip",
    }
    band = {**shared, "line": {"width": 0, "color": colour}}
    line = {
        **shared,
        "mode": "lines+markers",
        "name": as_html(one.label),
        "showlegend": True,
        "line": {"color": colour, "width": 2},
        "marker": {"symbol": symbol, "size": 5 if many else 8},
        "cliponaxis": False,
        "hoverinfo": "text",
    }
    references = [
        {**shared, "line": {"color": colour, "width": 1.3, "dash": dash}} for _, dash in _REFERENCES.values()
    ]
    return [
        band,
        {**band, "fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.16)"},
        line,
        *references,
    ]


def _sample(name: str, dash: str) -> dict[str, Any]:
    """What a kind of line looks like, for the legend."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [None],
        "y": [None],
        "name": name,
        "line": {"color": GREY, "width": 1.3, "dash": dash},
        "hoverinfo": "skip",
    }


def _values(one: CheckpointRows, measure: Measure) -> list[dict[str, Any]]:
    columns = (measure.low, measure.high, measure.value, measure.untrained, measure.iid, measure.cap)
    values = [[row[column] if column else None for row in one.rows] for column in columns]
    if measure.value == "mean_normalized":
        # Student's interval of few passages goes below what a share can be.
        values[0] = [None if low is None else max(0.0, low) for low in values[0]]
    traces: list[dict[str, Any]] = [
        {"y": found, "visible": any(value is not None for value in found)} for found in values
    ]
    traces[2]["hovertext"] = [_hover(one.label, row, measure) for row in one.rows]
    return traces


def _hover(label: str, row: Row, measure: Measure) -> str:
    beside = {
        "95 % from": measure.low,
        "to": measure.high,
        "untrained twin": measure.untrained,
        "random rows": measure.iid,
        "cap": measure.cap,
    }
    words = [f"{name} {number(row[column])}" for name, column in beside.items() if column]
    return "<br>".join(
        [f"<b>{as_html(label)}</b>, layer {row['layer']}: {number(row[measure.value])}", *words]
    )
