"""The maps: how alike every two layers are, one role at a time."""

from __future__ import annotations

from lmscope.analyses.layer_map import gini
from lmscope.report.figures import Figure, Variant
from lmscope.report.pair_heatmap import COLUMNS, HEATMAP, cells, layout, lines
from lmscope.report.pair_measures import PAIR_MEASURES, PAIR_NAMES
from lmscope.report.pairs import charted, heads
from lmscope.report.records import Records, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number
from lmscope.results.layer_maps import layer_maps

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
    rows, charts = heads(records), charted(records)
    # A colon parts role and measure in a key.
    roles = {one.title.replace(" ", "_").replace(":", ""): one for one in maps}

    def variant(key: str) -> Variant:
        role, measure_key = key.split(":")
        one, measure = roles[role], PAIR_MEASURES[measure_key]
        contrast = number(gini(one.values(table.column("score"))))
        return Variant(
            f"{one.title}: {measure.label}",
            [cells(one, [str(layer) for layer in one.layers], measure, rows, charts)],
            html=f"{as_html(measure.note)}. Gini coefficient of the scores: {contrast}",
            note=measure.note,
            parts=[lines(one, rows, measure)],
        )

    figure = Figure(
        [dict(HEATMAP)],
        layout("layer"),
        {
            f"{role}:{key}": f"{one.title}: {name}"
            for role, one in roles.items()
            for key, name in PAIR_NAMES.items()
        },
        variant,
        first=f"{next(iter(roles))}:excess",
        selects="cosines" if charts else "",
        columns=COLUMNS,
    )
    return Section(
        key="similarity",
        title="Similarity: every two layers",
        template=_TEMPLATE,
        values={"roles": {key: one.title for key, one in roles.items()}, "measures": PAIR_NAMES},
        shows="One cell per pair of layers, one role at a time: how near the vectors (neurons) of one come "
        "to those of the other, whatever their order and sign (DOCS). Click a cell to see its cosines below.",
        surprise="Layers next to each other are usually most alike, and likeness fades with distance. A dark "
        "square away from the diagonal, a layer unlike its neighbours, or a pair near 1 (a copy) "
        "deserves a look. Score and chance depend on the shapes: compare roles by the excess.",
        figure=figure,
    )
