"""Every tensor of the checkpoint, with what became of it and why."""

from __future__ import annotations

from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 50

_TEMPLATE = """
<div class="controls"><label>Find
<input type="search" data-filter="ledger-table" placeholder="name, role, reason …"></label>
<label>Status <select data-filter="ledger-table"><option value="">all</option>
{% for status in statuses %}<option value="status:{{ status }}">{{ status | plain }}</option>{% endfor %}
</select></label>
<span class="note" data-count="ledger-table"></span>
<button data-save="ledger-table">Data (CSV)</button></div>
<div class="scroll tall"><table class="sortable" id="ledger-table" data-file="ledger">
<thead><tr><th>Tensor<th>Role<th class="n">Layer<th>Shape<th>Type<th class="n">Elements
<th>Status<th>Reason</tr></thead>
<tbody>
{% for row in rows %}
<tr data-words="status:{{ row.status }}"><td class="name">{{ row.name }}
<td>{{ row.role | plain }}{% if row.expert is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.layer if row.layer is not none }}">{{ row.layer | number }}
<td>{{ row.shape | join(" × ") if row.shape else "scalar" }}<td>{{ row.dtype }}
<td class="n" data-sort="{{ row.elements }}">{{ row.elements | number }}
<td><span class="status {{ row.status }}">{{ row.status | plain }}</span>
<td class="remark">{{ row.reason }}{% if row.tied_to %} tied to {{ row.tied_to }}{% endif %}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section:
    statuses = sorted({row["status"] for row in records.ledger})
    return Section(
        key="ledger",
        title="Ledger: every tensor",
        template=_TEMPLATE,
        values={"rows": records.ledger, "statuses": statuses},
        shows="All tensors of the checkpoint: none is left out silently. Skipped means that there is no "
        "spectrum to compute (vectors, buffers) or that the tensor was not asked for.",
        surprise="A weight matrix among the skipped, or anything refused or failed: then the pictures above "
        "are not of the whole model.",
    )
