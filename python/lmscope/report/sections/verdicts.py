"""Every matrix in one table."""

from __future__ import annotations

from collections.abc import Callable

import jinja2
from markupsafe import Markup

from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.sections.overview import outside
from lmscope.report.words import number, p_value, percent

ORDER = 40

_TEMPLATE = """
<div class="controls"><label>Find
<input type="search" data-filter="verdict-table" placeholder="name, role, remark …"></label>
<span class="note" data-count="verdict-table"></span></div>
<div class="scroll tall"><table class="sortable" id="verdict-table">
<thead><tr><th>Matrix<th class="n">Layer<th>Role<th class="n">Shape
{% for label, _, _ in columns %}<th class="n">{{ label }}{% endfor %}<th>Remark</tr></thead>
<tbody>
{% for row in rows %}
{% set remark = (row.warning ~ (" No verdict: " ~ row.mp_reason if row.mp_reason else "")) | trim %}
<tr><td><button class="link" data-show="spectrum" data-key="{{ loop.index0 }}">{{ row.name }}</button>
{% if remark %} <span class="flag" title="{{ remark }}">!</span>{% endif %}
<td class="n" data-sort="{{ -1 if row.layer is none else row.layer }}">{{ row.layer | number }}
<td>{{ row.role | plain }}{% if row.expert is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.rows * row.columns }}">{{ row.rows | shape(row.columns) }}
{% for _, value, words in columns %}
<td class="n" data-sort="{{ -1 if value(row) is none else value(row) }}">{{ words(value(row)) }}
{% endfor %}
<td class="remark" title="{{ remark }}">{{ remark }}</tr>
{% endfor %}
</tbody></table></div>
"""

_COLUMNS: list[tuple[str, Callable[[Row], float | None], Callable[[float | None], str]]] = [
    ("Learnt", lambda row: row["learnt"], number),
    ("Sign-flip p", lambda row: row["sign_flip_p_value"], p_value),
    ("Above permutation", lambda row: row["n_above_permutation"], number),
    ("Above iid", lambda row: None if row["upper_edge"] is None else row["n_above"], number),
    ("Below iid", lambda row: None if row["upper_edge"] is None else row["n_below"], number),
    ("Outside", outside, percent),
    ("KS", lambda row: row["ks"], number),
    ("Effective rank", lambda row: row["effective_rank"], number),
    ("Stable rank", lambda row: row["stable_rank"], number),
]


def section(records: Records, environment: jinja2.Environment) -> Section | None:
    if not records.spectra:
        return None
    return Section(
        key="verdicts",
        title="Verdicts: all matrices",
        html=Markup(environment.from_string(_TEMPLATE).render(rows=records.spectra, columns=_COLUMNS)),
        shows="Counts of singular values beyond each kind of noise, with ranks and remarks. Click a heading "
        "to sort, a name to see its spectrum; ! marks a remark (last column).",
        surprise="Where learnt is far below the count above iid, most of what looks like signal is uneven "
        "scale of rows and columns. A matrix with no learnt value at all is where a smaller or "
        "pruned model might lose nothing; that is a hint, not a proof.",
    )
