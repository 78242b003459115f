"""How well the output embedding gives the tokens' probabilities linearly, and which tokens it misses."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmscope.report.density import Density, density, heatmap
from lmscope.report.encoding_fits import Fit, fits, said
from lmscope.report.figures import VERMILLION, Figure, Variant
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.unembedding_claims import FREQUENCY_TEXT, UNTRAINED_NULL
from lmscope.report.unembedding_rows import (
    Checkpoint,
    Choices,
    checkpoints,
    names,
    of_label,
    token_name,
)
from lmscope.report.words import count, listing, number

ORDER = 60

VIEWS: Choices = {
    "fitted": "fitted against actual",
    "residual": "residual against count in the text",
    "concentration": "spread of the logit against probability",
}
_AXES = {
    "fitted": ("log of the mean probability (nats)", "fitted from the token's row (nats)"),
    "residual": ("times in the fitting text, + 1", "actual - fitted (nats)"),
    "concentration": ("log of the mean probability (nats)", "standard deviation of the logit (nats)"),
}
_NOTES = {
    "fitted": "one cell counts the tokens in it; on the line the fit is exact",
    "residual": "tokens that never occur stand at the left edge: where they scatter most, the fit says least "
    "of what the text has shown",
    "concentration": "the theory wants this spread well below 1: then the mean state alone decides the "
    "probability",
}

_TEMPLATE = """
{% from "controls.html.jinja" import part_choice, checkpoint_choice %}
<div class="controls">{{ part_choice("View", views, "encoding") }}
{{ checkpoint_choice(of, "encoding") }} <button data-save="encoding">Data (CSV)</button></div>
<div class="figure" id="encoding" role="img" aria-label="Tokens by actual and fitted log probability"></div>
<div data-html="encoding"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
{% for text in sentences %}<p class="note">{{ text }}</p>{% endfor %}
{% for target, rows in fits %}
<h3>{{ target }}</h3>
<div class="scroll"><table><thead><tr><th>Tokens fitted<th class="n">How many<th class="n">R²
<th class="n">Adjusted R²<th class="n">Shuffled rows: adjusted R²<th class="n">Untrained model: adjusted R²
<th class="n">Cosine with minus the mean state<th class="n">Residual, sd
<th class="n">Condition<th class="n">Ridge</tr></thead><tbody>
{% for one in rows %}
<tr><td>{{ one.name }}{% if one.row.r2 is none %}<td class="remark" colspan="9">{{ one.row.reason }}
{%- else %}<td class="n">{{ one.row.tokens | number }}
<td class="n">{{ one.row.r2 | number(4) }}<td class="n">{{ one.row.adjusted_r2 | number(4) }}
<td class="n">{{ one.shuffled }}<td class="n">{{ one.untrained }}
<td class="n">{{ one.row.cosine | number(4) }}<td class="n">{{ one.row.residual_sd | number }}
<td class="n">{{ one.row.condition | number }}<td class="n">{{ one.row.ridge | number }}{% endif %}</tr>
{% endfor %}
</tbody></table></div>
{% endfor %}
{% if extremes %}
<h3>Tokens that the fit misses most</h3>
<div class="scroll"><table><thead><tr><th>Token<th class="n">In the text<th class="n">Mean probability
<th class="n">Fitted<th class="n">Actual - fitted (nats)</tr></thead><tbody>
{% for one in extremes %}
<tr><td>{{ one.name }}<td class="n">{{ one.count | number }}<td class="n">{{ one.actual | number }}
<td class="n">{{ one.fitted | number }}<td class="n">{{ one.residual | number }}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
<dl class="numbers">
{% for label, value in numbers %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
"""


def section(records: Records) -> Section | None:
    shown = checkpoints(records, "token_values")
    if not shown:
        return None
    of = names(shown)
    by_key = {one.key: one for one in shown}
    states = {
        f"{view}:{one.key}": of_label(name[0].upper() + name[1:], shown, one)
        for one in shown
        for view, name in VIEWS.items()
    }

    def variant(key: str) -> Variant:
        view, at = key.split(":")
        return _variant(records, by_key[at], view, states[key])

    figure = Figure(
        [
            heatmap("%{customdata} tokens<br>%{x:.4g}: %{y:.4g}"),
            {
                "type": "scatter",
                "mode": "lines",
                "line": {"color": VERMILLION, "width": 1.5, "dash": "dash"},
                "hoverinfo": "skip",
                "showlegend": False,
            },
        ],
        {
            "height": 480,
            "margin": {"l": 10, "r": 10, "t": 14, "b": 44},
            "hovermode": "closest",
            "dragmode": "zoom",
            "xaxis": {"automargin": True, "zeroline": False, "showgrid": False},
            "yaxis": {"automargin": True, "zeroline": False, "showgrid": False},
        },
        states,
        variant,
        first=next(iter(states)),
        columns=["view", "x from", "y from", "tokens"],
    )
    return Section(
        key="encoding",
        title="Encoding: probabilities in the output embedding",
        template=_TEMPLATE,
        values={"views": VIEWS, "of": of},
        shows="Every token of the vocabulary by its mean probability over the text, and by what a linear "
        "function of its row of the output embedding gives; colour counts tokens, logarithmically. Below, "
        "the share of the variance explained (R²), over all tokens, over those that occur in the text and "
        "over the others. By chance as many coordinates explain dimensions / tokens of it; adjusted R² takes "
        "that off, and shuffled rows show it at 0.",
        surprise="An untrained model whose R² is as high: every head that is linear gives a linear "
        "mean log-probability, so that a high R² there is no sign of learning. A cosine far below 1: the "
        "slope is not minus the mean state, and the theory's condition fails. The fit says nothing of single "
        "contexts, and nothing of another text: its mean probabilities are others.",
        figure=figure,
    )


def _variant(records: Records, one: Checkpoint, view: str, label: str) -> Variant:
    (row,) = one.rows(records, "token_values")
    grid = _grid(row, view)
    along, up = _AXES[view]
    layout: dict[str, Any] = {"xaxis": {"title": {"text": along}}, "yaxis": {"title": {"text": up}}}
    if view == "residual":
        top = int(np.asarray(row["count"]).max())
        ticks = [10**power for power in range(len(str(top + 1)))]
        layout["xaxis"] |= {
            "tickmode": "array",
            "tickvals": [float(np.log10(tick)) for tick in ticks],
            "ticktext": [number(tick) for tick in ticks],
        }
    else:
        layout["xaxis"] |= {"tickmode": "auto"}
    return Variant(
        label,
        [grid.trace(), _line(grid, view)],
        layout,
        html=_below(records, one, row, view),
        note=_NOTES[view],
        parts=[[VIEWS[view], *grid.lines()]],
    )


def _grid(row: Row, view: str) -> Density:
    actual = np.asarray(row["log_probability"], dtype=np.float64)
    if view == "fitted":
        return density(actual, row["fitted"], square=True)
    if view == "residual":
        return density(np.log10(1.0 + np.asarray(row["count"])), actual - row["fitted"])
    return density(actual, row["logit_sd"])


def _line(grid: Density, view: str) -> dict[str, Any]:
    """Where the fit would be exact; the level that the theory's condition names."""
    ends = [grid.x[0], grid.x[0] + grid.x[1] * grid.counts.shape[1]]
    level = {"fitted": ends, "residual": [0.0, 0.0], "concentration": [1.0, 1.0]}[view]
    inside = grid.y[0] <= level[0] <= grid.y[0] + grid.y[1] * grid.counts.shape[0]
    return {"x": ends, "y": level, "visible": inside}


def _below(records: Records, one: Checkpoint, row: Row, view: str) -> str:
    found = fits(one.rows(records, "encoding"))
    (head,) = one.rows(records, "heads")
    return render(
        _BELOW,
        note=_NOTES[view].capitalize(),
        sentences=[*said(found, softcap=head["softcap"]), *_of_frequency(records, found)],
        fits=_by_target(found),
        extremes=_extremes(row),
        numbers=_numbers(head),
    )


def _of_frequency(records: Records, found: list[Fit]) -> list[str]:
    """Which text the frequencies are of, and what the untrained model is a null for."""
    told = []
    if any(one.row["target"] == "frequency" for one in found):
        asked = (records.manifest.get("asked") or {}).get("unembedding") or {}
        given = asked.get("frequency_text")
        text = listing(list(given)) if given else FREQUENCY_TEXT
        told.append(f"The frequency text is {text}.")
    if any(one.untrained != "–" for one in found):
        told.append(UNTRAINED_NULL)
    return told


def _by_target(found: list[Fit]) -> list[tuple[str, list[Fit]]]:
    targets = dict.fromkeys(one.target for one in found)
    return [(target, [one for one in found if one.target == target]) for target in targets]


def _extremes(row: Row) -> list[dict[str, Any]]:
    actual, fitted = row["log_probability"], row["fitted"]
    return [
        {
            "name": token_name(token, text),
            "count": int(row["count"][token]),
            "actual": float(np.exp(actual[token])),
            "fitted": float(np.exp(fitted[token])),
            "residual": float(actual[token] - fitted[token]),
        }
        for token, text in zip(row["missed"], row["missed_text"], strict=True)
    ]


def _numbers(head: Row) -> list[tuple[str, str]]:
    """What the head is, and how it reads the text."""
    facts = [
        ("vocabulary × coordinates", f"{number(head['vocabulary'])} × {number(head['dimensions'])}"),
        ("output embedding", "tied to the input embedding" if head["tied"] else "of its own"),
        ("positions", f"{number(head['positions'])} in {count(head['windows'], 'window')}"),
        ("loss", f"{number(head['loss'], 4)} nats per token"),
        (
            "logit's sd over positions",
            f"{number(head['logit_sd'])} (95 % below {number(head['logit_sd_high'])})",
        ),
        ("log normaliser", f"{number(head['normaliser_mean'], 4)} ± {number(head['normaliser_sd'])} nats"),
        ("norm before the head", head["final_norm"] or "none"),
    ]
    if head["scale"] != 1.0:
        facts.append(("logit scale", number(head["scale"])))
    if head["softcap"] is not None:
        facts.append(("logit cap", number(head["softcap"])))
    if head["bias"]:
        facts.append(("bias", "one a token, a regressor of its own"))
    return facts
