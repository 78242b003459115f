"""How fields and couplings are distributed, block by block, and how that changes with longer prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, Figure, Variant
from lmscope.report.icl_charts import BRACKETS, cell_words, layout, logarithmic, size_axis, value_axis
from lmscope.report.icl_rows import (
    LOG_BANDS,
    Choice,
    Point,
    at_settings,
    band_of,
    band_words,
    choices_of,
    chosen,
    fixed_words,
    line_data,
    line_part,
    line_traces,
    nothing_there,
    points_of,
    states_of,
    value_key,
    view_choice,
)
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.templates import render
from lmscope.report.words import as_html, count, number, percent

ORDER = 87

_BLOCKS = {
    "A": "A: fields of the D × D block",
    "B": "B: fields of the label row",
    "C": "C: couplings within the block",
    "D": "D: couplings of block and label row",
    "E": "E: couplings within the label row",
}
_LOOKS = {
    "A": (BLUE, "circle"),
    "B": (GREEN, "square"),
    "C": (VERMILLION, "diamond"),
    "D": (PURPLE, "triangle-up"),
    "E": (ORANGE, "x"),
}
_DIVERGENCE, _NULL = "divergence", "divergence_null"
_CURVE_POINTS = 240
_ENTRIES = {"field": "fields h", "coupling": "couplings J"}

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "couplings") }}
<div class="figure" id="couplings" role="img"
aria-label="Histogram of one block of fields or couplings, or divergence between prompt lengths"></div>
<div data-html="couplings"></div>
"""

_BELOW = """
<p class="note">{{ note }}.</p>
<div class="scroll"><table><thead><tr><th>Block<th class="n">Prompt length N<th class="n">Mean
<th class="n">Standard deviation<th>Parts of the fitted mixture
<th class="n">Divergence to the next N (nats)<th class="n">By chance</tr>
</thead><tbody>
{% for one in rows %}
<tr{% if one.chosen %} class="chosen"{% endif %}><td>{{ one.block }}
<td class="n">{{ one.prompt_length | number }}
<td class="n">{{ one.mean }}<td class="n">{{ one.sd }}<td class="wrap">{{ one.parts }}
<td class="n">{{ one.divergence }}<td class="n">{{ one.divergence_null }}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("couplings")
    if not rows:
        return None
    held = {block: name for block, name in _BLOCKS.items() if any(row["block"] == block for row in rows)}
    choices = choices_of(rows, ("dimension", "tasks"), view_choice("block", "Block", held), _shown(rows))
    states = states_of(choices)

    def variant(key: str) -> Variant:
        settings = chosen(choices, key)
        length = settings.pop("show")
        block = settings.pop("block")
        some = at_settings(rows, settings)
        if length == _DIVERGENCE:
            return _divergences(some, list(held), block, states[key], fixed_words(choices))
        return _histogram(some, list(held), block, length, states[key], fixed_words(choices))

    figure = Figure(
        [
            {
                "type": "bar",
                "offset": 0,
                "name": "entries of all draws",
                "marker": {"color": GREY, "opacity": 0.55, "line": {"width": 0}},
                "hoverinfo": "text",
                "hovertemplate": "%{hovertext}<extra></extra>",
            },
            _curve("one Gaussian of this mean and spread", BLUE, "dash"),
            _curve("fitted mixture", VERMILLION, "solid"),
            *(
                trace
                for block in held
                for trace in line_traces(as_html(_BLOCKS[block]), _LOOKS[block][0], symbol=_LOOKS[block][1])
            ),
            *line_traces("by chance, of the block chosen", GREY, dash="dash", symbol="line-ew"),
        ],
        {**layout({}), "bargap": 0},
        states,
        variant,
        first=next(iter(states)),
        columns=["what", "x, or start of the bin", "end of the bin", "value", "low", "high", "seeds"],
    )
    return Section(
        key="couplings",
        title="Fields and couplings",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="The energy of the weights W is that of spins with fields h and couplings J. Bars are the "
        "entries of one block over all draws of tasks; the dashed line is one Gaussian of the same mean and "
        "spread, the solid one a mixture fitted to them where there is one. The divergence compares each "
        "prompt length with the next, beside that to as many sets drawn anew at the same length (dashed): "
        "where the two agree, no change is shown. Experiment couplings.",
        surprise="A fitted line that misses the bars: then drawing fields and couplings from it gives "
        "another spin glass. Block A has two humps for a reason: the diagonal, where a token meets itself, "
        "has the mean 1 / D, everything else 0. Entries of one block are not independent of each other, so "
        "a histogram that fits says nothing of how they go together.",
        figure=figure,
    )


def _shown(rows: Sequence[Row]) -> Choice:
    lengths = sorted({row["prompt_length"] for row in rows})
    values: dict[str, Any] = {value_key("prompt_length", length): length for length in lengths}
    options = {key: f"histogram at N = {number(length)}" for key, length in values.items()}
    if any(row["divergence"] is not None for row in rows):
        options[_DIVERGENCE] = "divergence over N"
        values[_DIVERGENCE] = _DIVERGENCE
    return Choice("show", "Chart shows", options, values)


def _curve(name: str, colour: str, dash: str) -> dict[str, Any]:
    line = {"color": colour, "width": 2, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": name, "line": line, "hoverinfo": "skip"}


def _histogram(
    rows: list[Row], blocks: list[str], block: str, length: int, label: str, fixed: str
) -> Variant:
    here = [row for row in rows if row["block"] == block and row["prompt_length"] == length]
    if not any(len(row["counts"]) for row in here):
        return nothing_there(label, here, 6 + 3 * len(blocks))
    row = next(row for row in here if len(row["counts"]))
    edges, counts = row["edges"], row["counts"]
    width = np.diff(edges)
    density = counts / (counts.sum() * width)
    x = np.linspace(edges[0], edges[-1], _CURVE_POINTS)
    gaussian = _gaussians(x, [1.0], [row["mean"]], [row["sd"]])
    fitted = row["mixture_share"] is not None
    mixture = (
        _gaussians(x, row["mixture_share"], row["mixture_mean"], row["mixture_sd"]) if fitted else np.zeros(0)
    )
    data: list[dict[str, Any]] = [
        {
            "x": edges[:-1].tolist(),
            "width": width.tolist(),
            "y": density.tolist(),
            "hovertext": [
                f"{number(entries)} entries from {number(left, 4)} to {number(right, 4)}"
                for entries, left, right in zip(counts, edges[:-1], edges[1:], strict=True)
            ],
        },
        {"x": x.tolist(), "y": gaussian.tolist(), "visible": row["sd"] > 0},
        {"x": x.tolist(), "y": mixture.tolist(), "visible": fitted},
        *[{"visible": False}] * (3 * len(blocks) + 3),
    ]
    what = _ENTRIES[row["kind"]]
    of = f"seed {row['seed']}" + (f" of {count(len(here), 'seed')}" if len(here) > 1 else "")
    note = ". ".join(filter(None, [f"Bars: {of}, {count(row['draws'], 'set')} of tasks", BRACKETS, fixed]))
    return Variant(
        label,
        data,
        {
            "xaxis": {**size_axis([], what), "zeroline": True},
            "yaxis": {"title": {"text": "density"}, "rangemode": "tozero"},
        },
        html=render(_BELOW, note=note, rows=_table(rows, block, length)),
        note=f"{what}, {of}",
        parts=[
            ["entries", edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), None, None, None],
            ["density of one Gaussian", x.tolist(), None, gaussian.tolist(), None, None, None],
            *([["density of the mixture", x.tolist(), None, mixture.tolist(), None, None, None]] * fitted),
        ],
    )


def _gaussians(x: NDArray[np.float64], shares: Any, means: Any, sds: Any) -> NDArray[np.float64]:
    """Sum of shares times normal densities; shares need not add up to 1."""
    total = np.zeros_like(x)
    for share, mean, sd in zip(shares, means, sds, strict=True):
        if sd > 0:
            total += share * np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
    return total


def _divergences(rows: list[Row], blocks: list[str], block: str, label: str, fixed: str) -> Variant:
    of_block = {one: [row for row in rows if row["block"] == one] for one in blocks}
    log = logarithmic(points_of(some, "prompt_length", _DIVERGENCE) for some in of_block.values())
    chance = points_of(of_block[block], "prompt_length", _NULL)
    lines = {one: points_of(some, "prompt_length", _DIVERGENCE) for one, some in of_block.items()}
    if not lines[block]:
        return nothing_there(label, of_block[block], 6 + 3 * len(blocks))

    def hover(one: str) -> Any:
        return lambda point: _said(one, point)

    data: list[dict[str, Any]] = [{"visible": False}] * 3
    for one, points in lines.items():
        data += [{**trace, "opacity": 1 if one == block else 0.35} for trace in line_data(points, hover(one))]
    data += line_data(chance, lambda point: f"<b>by chance</b>, {_at(point)}")
    note = ". ".join(filter(None, [LOG_BANDS, fixed]))
    lengths = [row["prompt_length"] for row in rows]
    return Variant(
        label,
        data,
        {
            "xaxis": size_axis(lengths, "prompt length N"),
            "yaxis": value_axis("divergence to the next N (nats)", [*lines.values(), chance], log=log),
        },
        html=render(_BELOW, note=note, rows=_table(rows, block, None)),
        note="Kullback–Leibler divergence between histograms at one prompt length and the next",
        parts=[
            [f"divergence of {name}", x, None, mean, low, high, seeds]
            for name, x, mean, low, high, seeds in (
                *(line_part(one, lines[one]) for one in blocks),
                line_part(f"{block}, by chance", chance),
            )
        ],
    )


def _said(block: str, point: Point) -> str:
    return f"<b>{as_html(_BLOCKS[block])}</b>, {_at(point)}"


def _at(point: Point) -> str:
    return f"N {number(point.x)}<br>{band_words(point.band)} nats"


def _table(rows: list[Row], block: str, length: int | None) -> list[dict[str, Any]]:
    """Every block at the length shown, or the block at every length."""
    places = sorted(
        {
            (row["block"], row["prompt_length"])
            for row in rows
            if (row["block"] == block if length is None else row["prompt_length"] == length)
        }
    )
    found = []
    for one, at in places:
        some = [row for row in rows if row["block"] == one and row["prompt_length"] == at]
        words = {column: cell_words(band_of(some, column)) for column in ("mean", "sd", _DIVERGENCE, _NULL)}
        parts = _parts(some[0])
        found.append(
            {**words, "block": _BLOCKS[one], "prompt_length": at, "parts": parts, "chosen": one == block}
        )
    return found


def _parts(row: Row) -> str:
    """Of the first seed."""
    if row["mixture_share"] is None:
        return "–"
    return "; ".join(
        f"{percent(float(share))} around {number(float(mean), 2)} ± {number(float(sd), 2)}"
        for share, mean, sd in zip(row["mixture_share"], row["mixture_mean"], row["mixture_sd"], strict=True)
    )
