"""Two checkpoints, matrix by matrix, in one table."""

from __future__ import annotations

from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 38

_TEMPLATE = """
{% from "controls.html.jinja" import find, heading %}
<p class="note">{{ same }} of {{ rows | length }} matrices are identical in {{ other }}.</p>
{{ find("twins-table", "name, role …") }}
<div class="scroll tall"><table class="sortable" id="twins-table" data-file="twins">
<thead><tr>{{ heading("Matrix", csv=["Matrix", "Its twin"]) }}{{ heading("Layer", true) }}
{{ heading("Role", csv=["Role", "Expert"]) }}{{ heading("DOCS score", true) }}{{ heading("Chance", true) }}
{{ heading("Excess", true) }}{{ heading("Matched", true) }}{{ heading("Mutual nearest", true) }}
{{ heading("Identical") }}</tr></thead>
<tbody>
{% for row in rows %}
<tr><td class="name" data-csv='{{ [row.name_x, row.name_y] | tojson }}'>{{ row.name_x }}
<td class="n" data-sort="{{ row.layer_x if row.layer_x is not none }}">{{ row.layer_x | number }}
<td data-csv='{{ [row.role, row.expert_x] | tojson }}'>
{{ row.role | plain }}{% if row.expert_x is not none %} · expert {{ row.expert_x }}{% endif %}
{% for value in (row.score, row.baseline) %}
<td class="n" data-sort="{{ value if value is not none }}">{{ value | number(4) }}
{% endfor %}
<td class="n" data-sort="{{ row.excess if row.excess is not none }}">{{ row.excess | signed_percent }}
{% for value in (row.matched_share, row.mutual_share) %}
<td class="n" data-sort="{{ value if value is not none }}">{{ value | percent }}
{% endfor %}
<td>{{ "yes" if row.identical else "no" }}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    rows = records.without_lists("twins")
    if not rows:
        return None
    return Section(
        key="twins",
        title="Twins: both checkpoints",
        template=_TEMPLATE,
        values={
            "rows": rows,
            "same": sum(row["identical"] for row in rows),
            "other": records.settings("twins").get("other_name", "the other checkpoint"),
        },
        shows="Each matrix with that of the same role, layer and expert in the other checkpoint; sort by "
        "score to see what moved most.",
        surprise="Fine-tuning keeps scores near 1. A score near chance means that the neurons are others: "
        "trained anew, or not the same model at all.",
    )
