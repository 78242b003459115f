"""Every matrix in one table."""

from __future__ import annotations

import jinja2
from markupsafe import Markup

from lmscope.report.records import Records
from lmscope.report.sections import Section
from lmscope.report.sections.overview import outside

ORDER = 40

_TEMPLATE = """
<div class="controls"><label>Find <input type="search" data-filter="verdict-table" placeholder="name, role, remark …"></label></div>
<div class="scroll tall"><table class="sortable" id="verdict-table">
<thead><tr><th>Matrix<th class="n">Layer<th>Role<th class="n">Shape<th class="n">Learnt<th class="n">Sign-flip p
<th class="n">Above permutation<th class="n">Above iid<th class="n">Below iid<th class="n">Outside<th class="n">KS<th class="n">Effective rank<th class="n">Stable rank<th>Remark</tr></thead>
<tbody>
{% macro cell(value, words) %}<td class="n" data-sort="{{ value if value is not none else -1 }}">{{ words }}{% endmacro %}
{% for row in rows %}
{% set remark = (row.get("warning") or "") ~ (" No verdict: " ~ row.mp_reason if row.get("mp_reason") else "") %}
<tr><td><button class="link" data-show="spectrum" data-key="{{ loop.index0 }}">{{ row.name }}</button>{% if remark %} <span class="flag" title="{{ remark }}">!</span>{% endif %}
{{ cell(row.get("layer"), row.get("layer") | number) }}
<td>{{ row.role | plain }}{% if row.get("expert") is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.rows * row.columns }}">{{ row.rows | shape(row.columns) }}
{{ cell(row.get("learnt"), row.get("learnt") | number) }}
{{ cell(row.get("sign_flip_p_value"), row.get("sign_flip_p_value") | p_value) }}
{{ cell(row.get("n_above_permutation"), row.get("n_above_permutation") | number) }}
{% set fitted = row.get("upper_edge") is not none %}
{{ cell(row.n_above if fitted else none, (row.n_above if fitted else none) | number) }}
{{ cell(row.n_below if fitted else none, (row.n_below if fitted else none) | number) }}
{{ cell(outside(row), outside(row) | percent) }}
{{ cell(row.get("ks"), row.get("ks") | number) }}
{{ cell(row.get("effective_rank"), row.get("effective_rank") | number) }}
{{ cell(row.get("stable_rank"), row.get("stable_rank") | number) }}
<td class="remark" title="{{ remark }}">{{ remark }}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records, environment: jinja2.Environment) -> Section | None:
    if not records.spectra:
        return None
    return Section(
        key="verdicts",
        title="Verdicts: all matrices",
        html=Markup(environment.from_string(_TEMPLATE).render(rows=records.spectra, outside=outside)),
        shows="Counts of singular values beyond each kind of noise, with ranks and remarks. Click a heading to sort, a name to see its spectrum; ! marks a remark (last column).",
        surprise="Where learnt is far below the count above iid, most of what looks like signal is uneven scale of rows and columns. "
        "A matrix with no learnt value at all is where a smaller or pruned model might lose nothing; that is a hint, not a proof.",
    )
