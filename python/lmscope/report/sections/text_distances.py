"""How far apart the texts are in the model's last layer: one cell per pair."""

from __future__ import annotations

from typing import Any

from lmscope.report.figures import STATE, Figure, Variant
from lmscope.report.pair_heatmap import HEATMAP, layout
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 44

_TEMPLATE = """
{% from "controls.html.jinja" import heading, measure_choice %}
{{ measure_choice("Colour shows", figure, "text_distances", "text_distances") }}
<div class="figure" id="text_distances" role="img" aria-label="Map of the distance of every two texts"></div>
<div class="scroll tall"><table class="sortable" id="texts-table" data-file="texts">
<thead><tr>{{ heading("Text", true) }}{{ heading("Begins") }}</tr></thead><tbody>
{% for text in texts %}
<tr><td class="n">{{ text }}<td class="remark"{{ snippets[text] | csv_if_odd }}>{{ snippets[text] }}</tr>
{% endfor %}
</tbody></table></div>
"""

_MEASURES = {
    "mean": ("Distance of means", "Euclidean distance between the means of the tokens' states"),
    "frobenius": ("Frobenius", "Frobenius norm of the difference of the covariances"),
    "bures_wasserstein": (
        "Bures–Wasserstein",
        "Wasserstein distance of two Gaussians of these covariances and equal means",
    ),
    "log_det": ("Log-determinant", "log-determinant divergence of the covariances, 0 where they are equal"),
}

_TEXT_UP_TO = 12
_TICKS_UP_TO = 30


def section(records: Records) -> Section | None:
    rows = records.rows("distances")
    if not rows:
        return None
    texts = sorted({row[f"text_{side}"] for row in rows for side in "xy"})
    snippets = {row[f"text_{side}"]: row[f"snippet_{side}"] for row in rows for side in "xy"}
    by_pair = {(row["text_x"], row["text_y"]): row for row in rows}

    def variant(key: str) -> Variant:
        label, note = _MEASURES[key]
        cells = [[_cell(by_pair, first, second) for second in texts] for first in texts]
        values: list[list[float | None]] = [
            [None if row is None else row[key] for row in line] for line in cells
        ]
        known = [value for line in values for value in line if value is not None]
        return Variant(
            label,
            [
                {
                    "x": [str(text) for text in texts],
                    "y": [str(text) for text in texts],
                    "z": values,
                    "zmin": 0,
                    "zmax": max(known, default=0) or 1,
                    "text": [["" if value is None else number(value) for value in line] for line in values],
                    "texttemplate": "%{text}" if len(texts) <= _TEXT_UP_TO else "",
                    "hovertext": [
                        [
                            _hover(label, first, second, snippets, value)
                            for second, value in zip(texts, line, strict=True)
                        ]
                        for first, line in zip(texts, values, strict=True)
                    ],
                }
            ],
            html=as_html(note),
            note=note,
            parts=[
                [
                    STATE,
                    *([row[name] for row in rows] for name in ("text_x", "text_y", "snippet_x", "snippet_y")),
                    [row[key] for row in rows],
                ]
            ],
        )

    axes = layout("text", "text")
    if len(texts) > _TICKS_UP_TO:
        axes["xaxis"]["nticks"] = axes["yaxis"]["nticks"] = _TICKS_UP_TO
    figure = Figure(
        [dict(HEATMAP)],
        axes,
        {key: label for key, (label, _) in _MEASURES.items()},
        variant,
        first="mean",
        columns=["measure", "text x", "text y", "beginning of x", "beginning of y", "distance"],
    )
    return Section(
        key="text_distances",
        title="Texts: how far apart",
        template=_TEMPLATE,
        values={"figure": figure, "texts": texts, "snippets": snippets},
        shows=f"{_how_many(records, len(texts))} One cell per pair: how far apart their tokens' states lie "
        "in the last layer, by their means or by their covariances. Dark is far; hover to read how the "
        "texts begin.",
        surprise="Texts of one subject that lie far apart, or of two that lie close. A text that is far from "
        "all others by every measure is often of another length or language.",
        figure=figure,
    )


def _how_many(records: Records, compared: int) -> str:
    read = max((row["texts"] for row in records.rows("entropy")), default=compared)
    return f"{compared} of {read} texts." if read > compared else f"{compared} texts."


def _cell(by_pair: dict[tuple[int, int], Row], first: int, second: int) -> Row | None:
    """The pair's row in either order: the measures are symmetric."""
    return by_pair.get((first, second)) or by_pair.get((second, first))


def _hover(label: str, first: int, second: int, snippets: dict[int, str], value: Any) -> str:
    if value is None:
        return f"text {first} with itself" if first == second else "not compared"
    return "<br>".join(
        [
            f"{as_html(label)}: {number(value, 4)}",
            f"text {first}: {as_html(snippets[first])}",
            f"text {second}: {as_html(snippets[second])}",
        ]
    )
