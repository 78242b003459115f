"""The maps of experts: how alike those of one layer are, and those of a layer and the next, role by role."""

from __future__ import annotations

import numpy as np
from scipy import stats

from lmscope.report.expert_grids import ExpertGrid, expert_grids
from lmscope.report.figures import Figure, Variant, without_chart
from lmscope.report.pair_heatmap import COLUMNS, HEATMAP, cells, colour_range, layout, lines
from lmscope.report.pair_measures import PAIR_MEASURES, PAIR_NAMES
from lmscope.report.pairs import PairRow, charted, heads
from lmscope.report.records import Records, role_place
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 36

_TEMPLATE = """
<div class="controls"><label>Role
  <select data-part="experts">
  {% for key, title in roles.items() %}<option value="{{ key }}">{{ title }}</option>{% endfor %}
  </select></label>
  <label>Layer
  <select data-part="experts">
  {% for key, title in layers.items() %}<option value="{{ key }}">{{ title }}</option>{% endfor %}
  </select></label>
  <label>Colour shows
  <select data-part="experts">
  {% for key, name in measures.items() %}<option value="{{ key }}">{{ name }}</option>{% endfor %}
  </select></label> <button data-save="experts">Data (CSV)</button>
<span class="note" data-html="experts"></span></div>
<div class="figure" id="experts" role="img" aria-label="Map of the similarity of every two experts"></div>
"""

_MEASURES = ("excess", "score")

_LEAST_P_VALUE = 0.001
"""Below it an expert is called unlike the others."""


def section(records: Records) -> Section | None:
    rows, charts = heads(records), charted(records)
    grids = sorted(expert_grids(rows), key=lambda one: (role_place(one.role), one.layers))
    if not grids:
        return None
    names = {key: PAIR_NAMES[key] for key in _MEASURES}
    by_place = {f"{one.role}:{one.key}": one for one in grids}
    of_role: dict[str, list[PairRow]] = {}
    for one in grids:
        of_role.setdefault(one.role, []).extend(_pairs(one, rows))
    # One range for all layers of a role, so that a colour means the same in each.
    colours = {
        (role, key): colour_range(PAIR_MEASURES[key], pairs)
        for role, pairs in of_role.items()
        for key in _MEASURES
    }

    def variant(key: str) -> Variant:
        place, measure_key = key.rsplit(":", 1)
        one, measure = by_place[place], PAIR_MEASURES[measure_key]
        return Variant(
            f"{one.title}: {measure.label}",
            [cells(one.rows, one.x, one.y, measure, rows, charts, colours[one.role, measure_key])],
            {
                axis: {"title": {"text": f"expert of layer {layer}"}}
                for axis, layer in zip(("yaxis", "xaxis"), one.layers, strict=True)
            },
            html=f"{as_html(measure.note)}{_least_alike(one, rows)}",
            note=measure.note,
            parts=[lines(one.role, one.rows, rows, measure)],
        )

    most = max(by_place, key=lambda place: max(row["excess"] or 0.0 for row in _pairs(by_place[place], rows)))
    layers = {one.key: one.choice for one in sorted(grids, key=lambda one: one.layers)}
    complete = len(by_place) == len(of_role) * len(layers)
    figure = Figure(
        [dict(HEATMAP)],
        layout("expert", "expert"),
        {
            f"{place}:{key}": f"{one.title}: {name}"
            for place, one in by_place.items()
            for key, name in names.items()
        },
        variant,
        first=f"{most}:excess",
        selects="cosines" if charts else "",
        absent=None if complete else without_chart("not compared", "No such pairs in this run.", 1),
        columns=COLUMNS,
    )
    return Section(
        key="experts",
        title="Experts: every two of a layer",
        template=_TEMPLATE,
        values={
            "roles": {one.role: one.role_title for one in grids},
            "layers": layers,
            "measures": names,
        },
        shows="One cell per pair of experts, of one layer or of a layer and the next; opens where the most "
        "alike pair is. The lowest colour is chance or less, and a colour means the same in all layers of "
        "a role.",
        surprise="Experts copied from one dense layer stay alike; those trained apart lie on chance. "
        "One expert unlike all others, or two that are near 1, deserves a look.",
        figure=figure,
    )


def _pairs(one: ExpertGrid, rows: list[PairRow]) -> list[PairRow]:
    return [rows[place] for place in one.rows[one.rows >= 0].tolist()]


def _least_alike(one: ExpertGrid, rows: list[PairRow]) -> str:
    """A sentence where an expert's mean score lies below what the spread of the others' explains (Grubbs)."""
    if one.layers[0] != one.layers[1]:
        return ""
    scores = [[np.nan if place < 0 else rows[place]["score"] for place in line] for line in one.rows.tolist()]
    means = np.nanmean(np.array(scores, np.float64), axis=1)
    least = int(np.argmin(means))
    others = np.delete(means, least)
    spread = float(np.std(others, ddof=1)) if len(others) > 2 else 0.0
    if not spread:
        return ""
    t = (others.mean() - means[least]) / (spread * np.sqrt(1 + 1 / len(others)))
    if len(means) * stats.t.sf(t, len(others) - 1) > _LEAST_P_VALUE:
        return ""
    return f". Least like the others: expert {one.y[least]}, mean score {number(float(means[least]))}"
