"""How much the chosen tokens tell, by how many they are: one line per selector."""

from __future__ import annotations

from typing import Any

from lmscope.analyses.selection_summary import distributed_information
from lmscope.report.figures import STATE, Figure, Variant
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.token_evidence import caveat
from lmscope.report.token_methods import METHODS, SCORES, SPREAD, WITHOUT_BUDGET, Method, look_of
from lmscope.report.words import as_html, count, listing, number

ORDER = 41

_LINES = {"all": "every selector", "spread": "is information spread?"}

_BESIDE = [
    *("low", "high", "positions", "minus_lasso", "minus_lasso_low", "minus_lasso_high"),
    *("minus_attention", "minus_attention_low", "minus_attention_high"),
]

_SINKS = (
    " Special tokens, such as the one that begins the text, are kept whatever is chosen: attention often "
    "spends choices on them, which every other selector gets for free. See attention without "
    "sinks beside it."
)

_TEMPLATE = """
<div class="controls"><label>Score
  <select data-part="selectors">
  {% for key, score in scores.items() %}<option value="{{ key }}">{{ score.label }}</option>{% endfor %}
  </select></label>
  <label>Lines
  <select data-part="selectors">
  {% for key, name in lines.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="selectors">Data (CSV)</button></div>
<div class="figure" id="selectors" role="img"
aria-label="Score of every selector against the tokens kept"></div>
<div data-html="selectors"></div>
"""

_BELOW = """
<p class="note">{{ note[0] | upper }}{{ note[1:] }}. Bands and brackets are 95 % intervals of the mean, taking
{{ by }} as independent; hover over a point for its difference from Lasso and from attention, taken position
by position. {{ warned }}</p>
<div class="scroll"><table><thead><tr><th>Selector
{% for k in ks %}<th class="n">k = {{ k }}{% endfor %}
</tr></thead><tbody>
{% for label, cells in rows %}
<tr><td>{{ label }}
{% for cell in cells %}<td class="n">
{% if cell %}{{ cell.mean | number }}
<span class="note">[{{ cell.low | number }}, {{ cell.high | number }}]</span>{% else %}–{% endif %}
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    means = records.selection_means
    if not means:
        return None
    scores = {key: score for key, score in SCORES.items() if any(row["score"] == key for row in means)}
    held = {row["method"] for row in means}
    named = [*(name for name in METHODS if name in held), *sorted(held - METHODS.keys())]
    ks = sorted({row["k"] for row in means})
    lines = {key: name for key, name in _LINES.items() if key == "all" or "all_but_lasso" in held}
    most = max(row["positions"] for row in means)

    shares = _shares(records) if held.issuperset({*SPREAD} - {"attention"}) else []
    warned = caveat(means[0]["clusters"], means[0]["clustered_by"])

    def variant(key: str) -> Variant:
        score_key, lines_key = key.split(":")
        score = scores[score_key]
        shown = _shown(named, lines_key)
        of_score = {(row["method"], row["k"]): row for row in means if row["score"] == score_key}
        cells = [(name, [of_score.get((name, k)) for k in ks]) for name in named]
        traces = [
            trace
            for name, found in cells
            for trace in _values(name, [row for row in found if row], name in shown)
        ]
        return Variant(
            f"{score.label}: {lines[lines_key]}",
            traces,
            {"yaxis": {"title": {"text": score.axis}}},
            html=render(
                _BELOW,
                note=score.note,
                warned=warned,
                ks=ks,
                by=means[0]["clustered_by"],
                rows=[
                    *((look_of(name).label, found) for name, found in cells if name in shown and any(found)),
                    *(shares if key == "ridge_residual:spread" else []),
                ],
            ),
            # Over a figure by itself the legend leaves room for one line.
            note=score.note.partition(",")[0],
            parts=[_lines_of(name, [row for row in found if row]) for name, found in cells if name in shown],
        )

    figure = Figure(
        [trace for name in named for trace in _line(look_of(name))],
        _layout(ks),
        {
            f"{score}:{line}": f"{SCORES[score].label}: {name}"
            for score in scores
            for line, name in lines.items()
        },
        variant,
        first=f"{next(iter(scores))}:all",
        columns=["selector", "k", STATE, *_BESIDE],
    )
    return Section(
        key="selectors",
        title="Selectors: which tokens matter",
        template=_TEMPLATE,
        values={"scores": scores, "lines": lines},
        shows=f"{_about(records, most)} One line per way to choose k of the earlier tokens, against how well "
        f"these do. {_grounds(scores)}{_SINKS if 'attention' in held else ''}",
        surprise="A selector that wins on another's ground. Random tokens that do as well as chosen ones, "
        "or everything but Lasso's tokens doing as well as these: then information is spread over the "
        "tokens, and none of them is the meaningful one.",
        figure=figure,
    )


def _about(records: Records, positions: int) -> str:
    return f"Means over {count(positions, 'position')} of {count(len(records.rows('passages')), 'passage')}."


def _grounds(scores: Any) -> str:
    own = [
        SCORES[key].label.lower() for key in ("ridge_residual", "information_gain", "cosine") if key in scores
    ]
    words = (
        [f"{listing(own)}: Lasso's and matching pursuit's own ground, as they minimise the residual"]
        if own
        else []
    )
    if any(key.startswith("kl_") for key in scores):
        words.append(
            "KL, the divergence of the model's own prediction, is the fair judge; masked in the last layer "
            "it is attention's ground"
        )
    else:
        words.append("an encoder predicts no next token, so there is no divergence to judge by")
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def _shares(records: Records) -> list[tuple[str, list[Row]]]:
    """Of what all earlier tokens explain of a state: the parts that Lasso's and the others do, over k."""
    found = distributed_information(records.rows("selection"))
    rows = []
    for label, name in (("Lasso's explain, of what all do", "lasso"), ("all but Lasso's explain", "kept")):
        curves = (getattr(found, f"{name}_share{end}").tolist() for end in ("", "_low", "_high"))
        cells = [{"mean": mean, "low": low, "high": high} for mean, low, high in zip(*curves, strict=True)]
        rows.append((label, cells))
    return rows


def _shown(named: list[str], lines: str) -> list[str]:
    return [name for name in named if (name in SPREAD if lines == "spread" else name not in WITHOUT_BUDGET)]


def _line(look: Method) -> list[dict[str, Any]]:
    """Both ends of the band, then the means."""
    red, green, blue = (int(look.colour[at : at + 2], 16) for at in (1, 3, 5))
    band: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0, "color": look.colour},
        "legendgroup": look.label,
        "showlegend": False,
        "hoverinfo": "skip",
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": as_html(look.label),
        "legendgroup": look.label,
        "line": {"color": look.colour, "width": 2, "dash": look.dash},
        "marker": {"symbol": look.symbol, "size": 8},
        "cliponaxis": False,
        "hoverinfo": "text",
    }
    return [band, {**band, "fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.1)"}, line]


def _values(name: str, rows: list[Row], visible: bool) -> list[dict[str, Any]]:
    shown = visible and bool(rows)
    x = [row["k"] for row in rows]
    return [
        {"x": x, "y": [row["low"] for row in rows], "visible": shown},
        {"x": x, "y": [row["high"] for row in rows], "visible": shown},
        {
            "x": x,
            "y": [row["mean"] for row in rows],
            "visible": shown,
            "hovertext": [_hover(name, row) for row in rows],
        },
    ]


def _hover(name: str, row: Row) -> str:
    lines = [
        f"{as_html(look_of(name).label)}, k = {row['k']}: {number(row['mean'])}",
        f"95 % {_interval(row['low'], row['high'])}, {count(row['positions'], 'position')}",
    ]
    for other in ("lasso", "attention"):
        difference = row[f"minus_{other}"]
        if name != other and difference is not None:
            ends = _interval(row[f"minus_{other}_low"], row[f"minus_{other}_high"])
            lines.append(f"less {look_of(other).label}: {number(difference)} {ends}")
    return "<br>".join(lines)


def _interval(low: float | None, high: float | None) -> str:
    return f"[{number(low)}, {number(high)}]"


def _lines_of(name: str, rows: list[Row]) -> list[Any]:
    """The data of one line, as the columns name them."""
    return [name, *([row[column] for row in rows] for column in ("k", "mean", *_BESIDE))]


def _layout(ks: list[int]) -> dict[str, Any]:
    return {
        "height": 460,
        "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
        "hovermode": "closest",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            "type": "log",
            "title": {"text": "tokens kept, k"},
            "tickmode": "array",
            "tickvals": ks,
            "ticktext": [str(k) for k in ks],
            "automargin": True,
            "zeroline": False,
            "showgrid": False,
            "fixedrange": True,
        },
        "yaxis": {"automargin": True, "rangemode": "tozero", "fixedrange": True, "exponentformat": "none"},
    }
