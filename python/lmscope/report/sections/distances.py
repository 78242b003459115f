"""How likeness fades with the distance between layers: one line per role."""

from __future__ import annotations

from typing import Any

from lmscope.analyses.layer_map import neighbour_curve
from lmscope.report.figures import STATE, Figure, Variant, of_trace
from lmscope.report.looks import OTHER_LOOKS, ROLE_LOOKS
from lmscope.report.pair_measures import PAIR_MEASURES, PAIR_NAMES
from lmscope.report.pairs import has_control
from lmscope.report.records import Records, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html, plain
from lmscope.results.layer_maps import layer_maps

ORDER = 34

_TEMPLATE = """
<div class="controls"><label>Lines show
  <select data-switch="distances">
  {% for key, name in figure.states.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="distances">Data (CSV)</button>
<span class="note" data-html="distances"></span></div>
<div class="figure" id="distances" role="img" aria-label="Similarity against the distance of layers"></div>
"""


def section(records: Records) -> Section | None:
    table = records.table("similarity")
    maps = sorted(layer_maps(table), key=lambda one: role_place(one.role))
    if not any(len(one.layers) > 2 for one in maps):
        return None
    control_maps = layer_maps(records.table("control")) if has_control(records) else []
    controls = {name: one for one in control_maps for name in one.names}
    spare = iter(OTHER_LOOKS * len(maps))
    data: list[dict[str, Any]] = []
    for one in maps:
        known = ROLE_LOOKS.get(one.role) if one.title == plain(one.role) else None
        colour, symbol = known or next(spare)
        line = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": one.title,
            "legendgroup": one.title,
            "line": {"color": colour, "width": 1.5},
            "marker": {"symbol": symbol, "size": 7},
            "cliponaxis": False,
        }
        dotted = {
            **line,
            "mode": "lines",
            "line": {"color": colour, "width": 1, "dash": "dot"},
            "showlegend": False,
            "hoverinfo": "skip",
        }
        data += [line, dotted]

    def variant(key: str) -> Variant:
        traces: list[dict[str, Any]] = []
        for one in maps:
            curve = neighbour_curve(one.values(table.column(key)), one.positions)
            control = controls.get(one.names[0])
            if control is not None:
                values = control.values(records.table("control").column(key))
                random = neighbour_curve(values, control.positions)
                means = dict(zip(random.distances.tolist(), random.means.tolist(), strict=True))
                below = [means.get(distance) for distance in curve.distances.tolist()]
            elif key == "score":
                chance = one.values(table.column("baseline"))
                below = neighbour_curve(chance, one.positions).means.tolist()
            else:
                below = [None] * len(curve.means)
            words = [
                f"{as_html(one.title)}, {distance} layers apart: {PAIR_MEASURES[key].words(mean)}"
                f"<br>mean of {count} pairs"
                for distance, mean, count in zip(
                    curve.distances, curve.means.tolist(), curve.counts, strict=True
                )
            ]
            traces += [
                {
                    "x": curve.distances.tolist(),
                    "y": curve.means.tolist(),
                    "hovertext": words,
                    "hoverinfo": "text",
                },
                {"x": curve.distances.tolist(), "y": below},
            ]
        measure = PAIR_MEASURES[key]
        axis = {"title": {"text": measure.label}, "tickformat": measure.tick_format}
        return Variant(measure.label, traces, {"yaxis": axis}, html=as_html(measure.note), note=measure.note)

    farthest = max(one.positions[-1] - one.positions[0] for one in maps)
    figure = Figure(
        data,
        {
            "height": 400,
            "margin": {"l": 10, "r": 10, "t": 34, "b": 44},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "title": {"text": "layers apart"},
                "automargin": True,
                "zeroline": False,
                "showgrid": False,
                "fixedrange": True,
                "tickformat": "d",
                **({"tickmode": "array", "tickvals": list(range(1, farthest + 1))} if farthest <= 25 else {}),
            },
            "yaxis": {"automargin": True, "fixedrange": True},
        },
        PAIR_NAMES,
        variant,
        first="excess",
        columns=["line", "role", "layers apart", STATE, "control, or chance"],
        parts=[
            [
                one.title,
                one.role,
                of_trace(2 * index, "x"),
                of_trace(2 * index, "y"),
                of_trace(2 * index + 1, "y"),
            ]
            for index, one in enumerate(maps)
        ],
    )
    below = "random matrices of the same shapes" if controls else "random directions (score only)"
    return Section(
        key="distances",
        title="Distance: how likeness fades",
        template=_TEMPLATE,
        values={"figure": figure},
        shows=f"Mean over all pairs of layers that far apart, one line per role; dotted: {below}. Points on "
        "the right are means of few pairs.",
        surprise="Trained models fade from layer to layer. A flat line above chance is something that all "
        "layers share; a line on chance is a role whose layers have nothing in common.",
        figure=figure,
    )
