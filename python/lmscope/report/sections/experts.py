"""The maps of experts: how alike those of one layer are, one role and layer at a time."""

from __future__ import annotations

from lmscope.report.figures import Figure, Variant
from lmscope.report.pair_heatmap import COLUMNS, HEATMAP, cells, layout, lines
from lmscope.report.pair_measures import PAIR_MEASURES, PAIR_NAMES
from lmscope.report.pairs import charted, heads
from lmscope.report.records import Records, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number
from lmscope.results.layer_maps import expert_maps

ORDER = 36

_TEMPLATE = """
<div class="controls"><label>Role
  <select data-part="experts">
  {% for key, title in roles.items() %}<option value="{{ key }}">{{ title }}</option>{% endfor %}
  </select></label>
  <label>Layer
  <select data-part="experts">
  {% for layer in layers %}<option>{{ layer }}</option>{% endfor %}
  </select></label>
  <label>Colour shows
  <select data-part="experts">
  {% for key, name in measures.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="experts">Data (CSV)</button>
<span class="note" data-html="experts"></span></div>
<div class="figure" id="experts" role="img" aria-label="Map of the similarity of every two experts"></div>
"""

_MEASURES = ("score", "excess")


def section(records: Records) -> Section | None:
    maps = sorted(
        expert_maps(records.table("similarity")), key=lambda one: (role_place(one.role), one.layers[0])
    )
    if not maps:
        return None
    rows, charts = heads(records), charted(records)
    names = {key: PAIR_NAMES[key] for key in _MEASURES}
    by_place = {f"{one.role}:{one.layers[0]}": one for one in maps}

    def variant(key: str) -> Variant:
        place, measure_key = key.rsplit(":", 1)
        one, measure = by_place[place], PAIR_MEASURES[measure_key]
        means = one.values([row["score"] for row in rows])
        known = [sum(line[line == line]) / max(1, sum(line == line)) for line in means]
        least = min(range(len(known)), key=known.__getitem__)
        return Variant(
            f"{one.title}, layer {one.layers[0]}: {measure.label}",
            [cells(one, [str(expert) for expert in one.experts], measure, rows, charts)],
            html=f"{as_html(measure.note)}. Least like the others: expert {one.experts[least]}, mean score "
            f"{number(known[least])}",
            note=measure.note,
            parts=[lines(one, rows, measure)],
        )

    figure = Figure(
        [dict(HEATMAP)],
        layout("expert"),
        {
            f"{place}:{key}": f"{one.title}, layer {one.layers[0]}: {name}"
            for place, one in by_place.items()
            for key, name in names.items()
        },
        variant,
        first=f"{next(iter(by_place))}:score",
        selects="cosines" if charts else "",
        columns=COLUMNS,
    )
    return Section(
        key="experts",
        title="Experts: every two of a layer",
        template=_TEMPLATE,
        values={
            "roles": {one.role: one.title for one in maps},
            "layers": sorted({one.layers[0] for one in maps}),
            "measures": names,
        },
        shows="One cell per pair of experts of one layer. Experts of neighbouring layers are compared too: "
        "run.table('similarity') has them.",
        surprise="Experts copied from one dense layer stay alike; those trained apart lie on chance. "
        "One expert unlike all others, or two that are near 1, deserves a look.",
        figure=figure,
    )
