"""How the energies of random weights are distributed, beside those of replicas after their descent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lmscope.report.figures import BLUE, GREEN, VERMILLION, Figure, Variant, packed
from lmscope.report.icl_axes import count_ticks
from lmscope.report.icl_descents import STOPPED, stopped
from lmscope.report.icl_rows import Choice, at_settings, choices_of, chosen, nothing_there, states_of
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.sections.landscape import COLUMNS
from lmscope.report.words import count, number

ORDER = 81
_BINS = 40

_TEMPLATE = """
<div class="controls"><h3 data-title="landscape_energies"></h3>
<button data-save="landscape_energies">Data (CSV)</button></div>
<div class="figure" id="landscape_energies" role="img" aria-label="Histogram of sampled energies"></div>
<p class="note" data-html="landscape_energies"></p>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("landscape")
    if not rows:
        return None
    choices = choices_of(rows, COLUMNS)
    states = states_of(choices)

    def ticks(name: str, colour: str) -> dict[str, object]:
        marker = {"symbol": "line-ns-open", "size": 14, "color": colour, "line": {"width": 2}}
        return {"type": "scatter", "mode": "markers", "name": name, "marker": marker, "hoverinfo": "text"}

    figure = Figure(
        [
            {
                "type": "bar",
                "name": "random weights",
                "marker": {"color": BLUE},
                "hoverinfo": "text",
            },
            ticks("replicas after the descent", VERMILLION),
            ticks("ground state", GREEN),
        ],
        {
            "height": 320,
            "margin": {"l": 10, "r": 20, "t": 44, "b": 44},
            "bargap": 0,
            "hovermode": "closest",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {"title": {"text": "energy"}, "automargin": True, "fixedrange": True, "showgrid": False},
            "yaxis": {"title": {"text": "random weights"}, "automargin": True, "fixedrange": True},
        },
        states,
        lambda key: _variant(rows, choices, key, states[key]),
        first=next(iter(states)),
        follows="landscape",
        columns=["what", "from", "to", "count"],
    )
    return Section(
        key="landscape_energies",
        title="Energies: random weights beside replicas after the descent",
        template=_TEMPLATE,
        values={},
        shows="Energies of the random weights of the landscape above, as a histogram, with those at which "
        "the descents of replicas ended and that of the exact ground state as ticks below. Experiment "
        "landscape.",
        surprise="Where λ₀ = 0 or the tasks leave no direction free: ticks of replicas right of that of the "
        "ground state, a descent that did not end in a minimum. Elsewhere they are to be right of it, as the "
        "descent is stopped before λ₀ has moved the free directions.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], key: str, label: str) -> Variant:
    some = at_settings(rows, chosen(choices, key))
    held = [row for row in some if len(row["energy"])]
    if not held:
        return nothing_there(label, some, 3)
    row = held[0]
    counts, edges = np.histogram(row["energy"], bins=_BINS)
    ground = [] if row["ground_energy"] is None else [row["ground_energy"]]
    foot = -0.06 * float(counts.max())
    note = f"{count(len(row['energy']), 'draw')} of random weights in {_BINS} bins"
    note += f". Replicas: {STOPPED}" if stopped(row) else ""
    return Variant(
        label,
        [
            {
                "x": packed((edges[:-1] + edges[1:]) / 2),
                "y": packed(counts.astype(float)),
                "width": float(edges[1] - edges[0]),
                "hovertext": [
                    f"energy {number(low)} to {number(high)}: {number(how_many)}"
                    for (low, high), how_many in zip(pairwise(edges.tolist()), counts.tolist(), strict=True)
                ],
            },
            {
                "x": packed(row["relaxed_energy"]),
                "y": [foot] * len(row["relaxed_energy"]),
                "hovertext": [
                    f"replica after the descent: {number(one, 6)}" for one in row["relaxed_energy"]
                ],
                "visible": len(row["relaxed_energy"]) > 0,
            },
            {
                "x": ground,
                "y": [2.2 * foot] * len(ground),
                "hovertext": [f"ground state: {number(one, 6)}" for one in ground],
                "visible": bool(ground),
            },
        ],
        {
            "yaxis": {
                "range": [3.4 * foot, 1.05 * float(counts.max())],
                "tickvals": count_ticks(int(counts.max())),
            }
        },
        html=note,
        note=note,
        parts=[
            ["random weights", edges[:-1].tolist(), edges[1:].tolist(), counts.tolist()],
            ["replica after the descent", list(row["relaxed_energy"]), list(row["relaxed_energy"]), 1],
            *([["ground state", *ground, *ground, 1]] if ground else []),
        ],
    )
