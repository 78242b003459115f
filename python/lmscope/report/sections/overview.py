"""The map: one cell per matrix, layers from left to right, roles from top to bottom."""

from __future__ import annotations

from lmscope.report.measures import MEASURES
from lmscope.report.records import Records, Row
from lmscope.report.role_map import role_map
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number, p_value, shape

ORDER = 20

_TEMPLATE = """
{% from "controls.html.jinja" import apart_table, measure_choice %}
{% if figure %}
{{ measure_choice("Map and lines show", figure, "overview") }}
<div class="figure" id="overview" role="img" aria-label="Map of layers and roles"></div>
{% endif %}
{% if apart %}
{{ apart_table("Matrices without a layer" if figure else "Matrices", apart, measures, "spectrum") }}
{% endif %}
"""


def section(records: Records) -> Section | None:
    if not records.spectra:
        return None
    numbered = list(enumerate(records.spectra))
    analysed = {row["name"] for row in records.spectra}
    missing = [
        (None, row) for row in records.ledger if row["name"] not in analysed and row["status"] != "skipped"
    ]
    in_layers = [(index, row) for index, row in [*numbered, *missing] if row["layer"] is not None]
    figure = role_map(in_layers, MEASURES, _hover, first="learnt", selects="spectrum") if in_layers else None
    return Section(
        key="overview",
        title="Overview: where in the model",
        template=_TEMPLATE,
        values={
            "figure": figure,
            "measures": list(MEASURES.values()),
            "apart": [(index, row) for index, row in numbered if row["layer"] is None],
        },
        shows="One cell per weight matrix: layers from left to right, roles from top to bottom. Click a "
        "cell to see its spectrum below; a gap is a matrix that was not analysed or has no such "
        "number: hover for the reason.",
        surprise="A cell unlike those of its role in the layers beside it, or a trained layer with nothing "
        "above the noise. Roles of different shapes are better compared by share than by count: a larger "
        "matrix has more values.",
        figure=figure,
    )


def _hover(row: Row) -> str:
    name = f"<b>{as_html(row['name'])}</b>"
    if "M" not in row:
        return f"{name}<br>{as_html(row['status'])}: {as_html(row['reason'] or 'no reason given')}"
    if row["mp_reason"]:
        iid = f"no Marchenko–Pastur verdict: {as_html(row['mp_reason'])}"
    else:
        iid = f"outside Marchenko–Pastur: {number(row['n_above'])} above, {number(row['n_below'])} below"
    return "<br>".join(
        [
            name,
            f"{shape(row['rows'], row['columns'])} {as_html(row['dtype'])}",
            f"learnt (above sign flips): {number(row['learnt'])} of {number(row['M'])}, "
            f"p = {p_value(row['sign_flip_p_value'])}",
            iid,
            f"KS distance {number(row['ks'])}, effective rank {number(row['effective_rank'])}, "
            f"stable rank {number(row['stable_rank'])}",
        ]
    )
