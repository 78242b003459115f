"""The energy over a plane of weights, and where the descents of replicas end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmscope.report.figures import BLUE, COLOUR_SCALE, VERMILLION, Figure, Variant, of_trace, packed
from lmscope.report.icl_descents import STOPPED, free_directions, stopped
from lmscope.report.icl_rows import (
    Choice,
    at_settings,
    choices_of,
    chosen,
    fixed_note,
    nothing_there,
    states_of,
)
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, count, number

ORDER = 81

COLUMNS = ("tasks", "prompt_length", "dimension", "regularization", "seed")
"""Whose values one landscape is of."""

_TEMPLATE = """
{% from "controls.html.jinja" import choice_row %}
{{ choice_row(choices, "landscape") }}
<div class="figure" id="landscape" role="img" aria-label="Energy over a plane of weights"></div>
<div data-html="landscape"></div>
"""


def section(records: Records) -> Section | None:
    rows = records.rows("landscape")
    if not rows:
        return None
    choices = choices_of(rows, COLUMNS)
    states = states_of(choices)
    axis = {"automargin": True, "fixedrange": True, "zeroline": False, "showgrid": False}
    figure = Figure(
        [
            {
                "type": "contour",
                "colorscale": COLOUR_SCALE,
                "ncontours": 24,
                "line": {"width": 0.5},
                "colorbar": {
                    "thickness": 12,
                    "outlinewidth": 0,
                    "len": 1,
                    "ypad": 0,
                    "title": {"text": "energy", "side": "right"},
                },
                "hovertemplate": "(%{x:.3g}, %{y:.3g}): energy %{z:.4g}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "random weights",
                "marker": {"color": BLUE, "size": 3, "opacity": 0.6},
                "hovertemplate": "random weights: energy %{customdata:.3g}<extra></extra>",
                "visible": "legendonly",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "replicas after the descent",
                "marker": {"color": VERMILLION, "size": 10, "line": {"width": 1.5, "color": "#ffffff"}},
                "hoverinfo": "text",
            },
        ],
        {
            "height": 520,
            "margin": {"l": 10, "r": 10, "t": 44, "b": 44},
            "hovermode": "closest",
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "title": {"text": "first direction"}},
            "yaxis": {**axis, "title": {"text": "second direction"}},
        },
        states,
        lambda key: _variant(rows, choices, key, states[key]),
        first=next(iter(states)),
        columns=["what", "first direction", "second direction", "energy"],
    )
    return Section(
        key="landscape",
        title="Landscape: energy over a plane of weights",
        template=_TEMPLATE,
        values={"choices": choices},
        shows="A plane through the space of the weights, coloured by the energy of its points, and where "
        "replicas that descend from random weights end, seen from above. With few tasks they lie at many "
        "places of the floor, along directions that the tasks leave free: level without regularization, and "
        "with it so soft that the descent is stopped before λ₀ has moved them; with many tasks they meet in "
        "one basin. Random weights lie outside the plane: a click on the legend shows their places in it. "
        "Experiment landscape.",
        surprise="Replicas apart where the tasks leave no direction free, or together where they do. Where "
        "λ₀ = 0 or no direction is free: replicas above the energy of the ground state.",
        figure=figure,
    )


def _variant(rows: list[Row], choices: Sequence[Choice], key: str, label: str) -> Variant:
    some = [row for row in at_settings(rows, chosen(choices, key)) if len(row["grid"])]
    if not some:
        return nothing_there(label, at_settings(rows, chosen(choices, key)), 3)
    row = some[0]
    grid = np.reshape(row["grid"], (len(row["axes_y"]), len(row["axes_x"])))
    along, up = np.meshgrid(row["axes_x"], row["axes_y"])
    note = "Energy: W'(A + λ₀ I)W / 2 - h'W, half the training loss and a penalty, up to a constant"
    below = " ".join(filter(None, [f"{note}.", fixed_note(choices)]))
    return Variant(
        label,
        [
            {"x": packed(row["axes_x"]), "y": packed(row["axes_y"]), "z": packed(grid)},
            {
                "x": packed(row["x"]),
                "y": packed(row["y"]),
                "customdata": packed(row["energy"]),
            },
            {
                "x": packed(row["relaxed_x"]),
                "y": packed(row["relaxed_y"]),
                "hovertext": [
                    f"replica after the descent: energy {number(one, 6)}" for one in row["relaxed_energy"]
                ],
            },
        ],
        html=f'<p class="note">{as_html(below)}</p><p>{as_html(said(row))}</p>',
        note=note,
        parts=[
            ["grid", _short(along), _short(up), of_trace(0, "z")],
            ["random weights", of_trace(1, "x"), of_trace(1, "y"), of_trace(1, "customdata")],
            ["replica after the descent", of_trace(2, "x"), of_trace(2, "y"), list(row["relaxed_energy"])],
        ],
    )


def _short(values: npt.ArrayLike) -> list[float]:
    """Seven digits, as the chart holds."""
    return [float(f"{value:.7g}") for value in np.ravel(values)]


def said(row: Row) -> str:
    """Where the descents of replicas end, and beside what."""
    energies = row["relaxed_energy"]
    if not len(energies):
        return "No replica was relaxed."
    low, high = number(float(min(energies)), 4), number(float(max(energies)), 4)
    between = f"an energy of {low}" if low == high else f"energies between {low} and {high}"
    ground = f" (ground state {number(row['ground_energy'], 4)})" if row["ground_energy"] is not None else ""
    apart = (
        f" Their mean distance is {number(row['relaxed_distance'])} of what it was before."
        if row["relaxed_distance"] is not None
        else ""
    )
    overlap = (
        f" The mean cosine between two of them is {number(row['relaxed_overlap'])}."
        if row["relaxed_overlap"] is not None
        else ""
    )
    free = free_directions(row)
    how = f"was {STOPPED}" if stopped(row) else "ended in a minimum"
    return (
        f"The descent of {count(len(energies), 'replica')} {how}. "
        f"They have {between}{ground}.{apart}{overlap} "
        f"{count(free, 'direction')} of the weights that enter the prediction "
        f"{'is' if free == 1 else 'are'} left free by {count(row['tasks'], 'task')}."
    )
