"""Every tensor of the checkpoint, with what became of it and why."""

from __future__ import annotations

from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 80

_TEMPLATE = """
{% from "controls.html.jinja" import find, heading %}
{% call find("ledger-table", "name, role, reason …") %}
<label>Status <select data-filter="ledger-table"><option value="">all</option>
{% for status in statuses %}<option value="status:{{ status }}">{{ status | plain }}</option>{% endfor %}
</select></label>
{% endcall %}
<div class="scroll tall"><table class="sortable" id="ledger-table" data-file="ledger">
<thead><tr>{{ heading("Tensor") }}{{ heading("Role", csv=["Role", "Expert"]) }}{{ heading("Layer", true) }}
{{ heading("Shape", csv=["Rows", "Columns", "Further sizes"]) }}
{{ heading("Type") }}{{ heading("Elements", true) }}
{{ heading("Status") }}{{ heading("Reason", csv=["Reason", "Tied to"]) }}</tr></thead>
<tbody>
{% for row in rows %}
<tr data-words="status:{{ row.status }}"><td class="name"{{ row.name | csv_if_odd }}>{{ row.name }}
<td data-csv='{{ [row.role, row.expert] | tojson }}'>
{{ row.role | plain }}{% if row.expert is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.layer if row.layer is not none }}">{{ row.layer | number }}
<td data-csv='{{ sizes(row.shape) | tojson }}'>
{{ row.shape | join(" × ") if row.shape else "scalar" }}<td>{{ row.dtype }}
<td class="n" data-sort="{{ row.elements }}">{{ row.elements | number }}
<td><span class="status {{ row.status }}">{{ row.status | plain }}</span>
<td class="remark" data-csv='{{ [row.reason, row.tied_to] | tojson }}'>
{{ row.reason }}{% if row.tied_to and row.tied_to not in (row.reason or "") %}
{{- "; " if row.reason }}tied to {{ row.tied_to }}{% endif %}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    if records.without_checkpoint:
        return None
    statuses = sorted({row["status"] for row in records.ledger})
    return Section(
        key="ledger",
        title="Ledger: every tensor",
        template=_TEMPLATE,
        values={"rows": records.ledger, "statuses": statuses, "sizes": _sizes},
        shows="All tensors of the checkpoint: none is left out silently. Skipped means that there is no "
        "spectrum to compute (vectors, buffers) or that the tensor was not asked for.",
        surprise="A weight matrix among the skipped, or anything refused or failed: then the pictures above "
        "are not of the whole model.",
    )


def _sizes(shape: list[int]) -> list[int | str | None]:
    """Rows, columns, and what a tensor has beyond them."""
    sides: list[int | str | None] = [*shape[:2], None, None]
    return [*sides[:2], " x ".join(map(str, shape[2:]))]
