"""The maps: how alike every two layers are, one role at a time."""

from __future__ import annotations

import numpy as np

from lmscope.analyses.layer_map import gini
from lmscope.report.figures import Figure, Variant, without_chart
from lmscope.report.measures import Measure
from lmscope.report.pair_heatmap import COLUMNS, HEATMAP, cells, colour_range, layout, lines
from lmscope.report.pair_measures import INDEX_MEASURES, PAIR_MEASURES
from lmscope.report.pairs import PairRow, charted, heads_with_indices
from lmscope.report.records import Records, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html
from lmscope.results.layer_maps import PairMap, layer_maps

ORDER = 32

_TEMPLATE = """
<div class="controls"><label>Role
  <select data-part="similarity">
  {% for key, title in roles.items() %}<option value="{{ key }}">{{ title }}</option>{% endfor %}
  </select></label>
  <label>Colour shows
  <select data-part="similarity">
  {% for key, name in measures.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="similarity">Data (CSV)</button>
<span class="note" data-html="similarity"></span></div>
<div class="figure" id="similarity" role="img" aria-label="Map of the similarity of every two layers"></div>
"""


def section(records: Records) -> Section | None:
    table = records.table("similarity")
    maps = sorted(layer_maps(table), key=lambda one: role_place(one.role))
    if not maps:
        return None
    rows, charts = heads_with_indices(records), charted(records)
    # A colon parts role and measure in a key.
    roles = {one.title.replace(" ", "_").replace(":", ""): one for one in maps}

    measures = {**PAIR_MEASURES, **INDEX_MEASURES}
    of_role = {role: [*PAIR_MEASURES, *_indices(one, rows)] for role, one in roles.items()}
    offered = [key for key in measures if any(key in keys for keys in of_role.values())]

    def variant(key: str) -> Variant:
        role, measure_key = key.split(":")
        one, measure = roles[role], measures[measure_key]
        colours = colour_range(measure, [rows[place] for place in one.rows[one.rows >= 0].tolist()])
        compared = ["score", *_indices(one, rows)]
        contrasts = [
            f"{measures[name].label} {_contrast(one, rows, measures[name]):.3f}" for name in compared
        ]
        return Variant(
            f"{one.title}: {measure.label}",
            [cells(one.rows, one.layers, one.layers, measure, rows, charts, colours)],
            html=f"{as_html(measure.note)}. Gini coefficient of the map: {as_html(', '.join(contrasts))}",
            note=measure.note,
            parts=[lines(one.role, one.rows, rows, measure)],
        )

    figure = Figure(
        [dict(HEATMAP)],
        layout("layer", "layer"),
        {
            f"{role}:{key}": f"{one.title}: {measures[key].label}"
            for role, one in roles.items()
            for key in of_role[role]
        },
        variant,
        first=f"{next(iter(roles))}:excess",
        selects="cosines" if charts else "",
        absent=_absent() if len(offered) > len(PAIR_MEASURES) else None,
        columns=COLUMNS,
    )
    return Section(
        key="similarity",
        title="Similarity: every two layers",
        template=_TEMPLATE,
        values={
            "roles": {key: one.title for key, one in roles.items()},
            "measures": {key: measures[key].label for key in offered},
        },
        shows="One cell per pair of layers, one role at a time: how near the vectors (neurons) of one come "
        "to those of the other, whatever their order and sign (DOCS). Click a cell to see its cosines below.",
        surprise="Layers next to each other are usually most alike, and likeness fades with distance. A dark "
        "square away from the diagonal, a layer unlike its neighbours, or a pair near 1 (a copy) "
        "deserves a look. Of score and excess the lowest colour is chance or less. Score and chance "
        "depend on the shapes: compare roles by the excess.",
        figure=figure,
    )


def _indices(one: PairMap, rows: list[PairRow]) -> list[str]:
    """Of those other than DOCS the ones that the map's pairs have."""
    places = one.rows[one.rows >= 0]
    return [key for key in INDEX_MEASURES if any(key in rows[int(place)] for place in places)]


def _contrast(one: PairMap, rows: list[PairRow], measure: Measure) -> float:
    values = [measure.value(row) for row in rows]
    return gini(one.values(np.array([np.nan if value is None else value for value in values])))


def _absent() -> Variant:
    return without_chart(
        "not computed for this role",
        "Not computed for this role. <code>lmscope similarity CKPT --indices ROLE -o RUN</code> adds it "
        "for matrices of at most 2048 vectors.",
        1,
    )
