"""Two claims about where information sits, as statistics with their uncertainty."""

from __future__ import annotations

from collections import defaultdict

from lmscope.report.claim_words import TITLES, refused, said, sentence
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import of_one

ORDER = 57

_TEMPLATE = """
{% from "controls.html.jinja" import heading %}
{% if rows %}
<div class="controls"><button data-save="claims-table">Data (CSV)</button></div>
<div class="scroll"><table class="sortable" id="claims-table" data-file="claims">
<thead><tr>
{{ heading("Claim", csv=["claim", "checkpoint", "score", "against", "statistic", "in words"]) }}
{{ heading("Value", true) }}{{ heading("95 % interval", true, csv=["low", "high"]) }}
{{ heading("Shared profile", true) }}
{{ heading("Beyond it, 95 %", true, csv=["beyond_low", "beyond_high"]) }}
{{ heading("p", true) }}{{ heading("Points", true) }}</tr></thead>
<tbody>
{% for row, said in rows %}
<tr><td class="said"
data-csv='{{ [row.claim, row.checkpoint, row.score, row.against, row.statistic, said] | tojson }}'>
<b>{{ titles.get(row.claim, row.claim | plain) }}{% if several %} ({{ row.checkpoint }}){% endif %}</b>
{{ said }}
<td class="n" data-sort="{{ row.value if row.value is not none }}">{{ row.value | number }}
<td class="n" data-sort="{{ row.low if row.low is not none }}" data-csv='{{ [row.low, row.high] | tojson }}'>
{% if row.low is not none and row.high is not none %}{{ row.low | number }} to {{ row.high | number }}
{%- else %}–{% endif %}
<td class="n" data-sort="{{ row.shared if row.shared is not none }}">{{ row.shared | number }}
<td class="n" data-sort="{{ row.beyond_low if row.beyond_low is not none }}"
data-csv='{{ [row.beyond_low, row.beyond_high] | tojson }}'>
{% if row.beyond_low is not none and row.beyond_high is not none -%}
{{ row.beyond_low | number }} to {{ row.beyond_high | number }}
{%- else %}–{% endif %}
<td class="n" data-sort="{{ row.p_value if row.p_value is not none }}">{{ row.p_value | p_value }}
<td class="n" data-sort="{{ row.points }}">{{ row.points | number }}</tr>
{% endfor %}
</tbody></table></div>
{% endif %}
{% for text in silent %}<p class="note">{{ text }}</p>{% endfor %}
"""


def section(records: Records) -> Section | None:
    rows = records.rows("claims")
    if not rows:
        return None
    several = len({row["identity"] for row in rows}) > 1
    by_checkpoint: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_checkpoint[row["checkpoint"]].append(row)
    silent = [
        of_one(name, text) if several else text
        for name, some in by_checkpoint.items()
        if (text := refused(some))
    ]
    return Section(
        key="claims",
        title="Claims: what holds in this run",
        template=_TEMPLATE,
        values={
            "rows": [(row, sentence(row)) for row in said(rows)],
            "silent": silent,
            "several": several,
            "titles": TITLES,
        },
        shows="Two claims of the literature, tested on these matrices whatever comes out: that matrices of "
        "one role behave alike in every layer, and that the weights alone tell where activations align and "
        "where lesions hurt. Scores are those of the slices, from the weights alone.",
        surprise="An interval on the other side of zero, or a role that explains no more than shuffled "
        "labels do. Neither a share of variance nor a rank correlation says what causes what; slices of one "
        "matrix, and matrices of one role, are no independent points: intervals and p-values take whole "
        "roles or layers. What all roles have in common, such as a profile over slices, is no evidence: look "
        "at what lies beyond it.",
    )
