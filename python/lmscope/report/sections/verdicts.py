"""Every matrix in one table."""

from __future__ import annotations

from collections.abc import Callable

from lmscope.report.measures import outside
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import number, p_value, percent

ORDER = 40

_TEMPLATE = """
{% from "controls.html.jinja" import find, heading %}
{{ find("verdict-table", "name, role, remark …") }}
<div class="scroll tall"><table class="sortable" id="verdict-table" data-file="verdicts">
<thead><tr>{{ heading("Matrix") }}{{ heading("Layer", true) }}{{ heading("Role", csv=["Role", "Expert"]) }}
{{ heading("Shape", true, csv=["Rows", "Columns"]) }}
{% for label, long, _, _ in columns %}{{ heading(label, true, long) }}{% endfor %}
{{ heading("Remark") }}</tr></thead>
<tbody>
{% for row in rows %}
{% set remark = (row.warning ~ (" No verdict: " ~ row.mp_reason if row.mp_reason else "")) | trim %}
<tr><td data-sort="{{ row.name }}"{{ row.name | csv_if_odd }}><div>
<button class="link" data-show="spectrum" data-key="{{ loop.index0 }}"
{%- if row.name | length > 40 %} title="{{ row.name }}"{% endif %}>{{ row.name }}</button>
{% if remark %} <span class="flag" title="{{ remark }}">!</span>{% endif %}</div>
<td class="n" data-sort="{{ row.layer if row.layer is not none }}">{{ row.layer | number }}
<td data-csv='{{ [row.role, row.expert] | tojson }}'>
{{ row.role | plain }}{% if row.expert is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.rows * row.columns }}" data-csv='[{{ row.rows }}, {{ row.columns }}]'>
{{ row.rows | shape(row.columns) }}
{% for _, _, value, words in columns %}
{% set number, shown = value(row), words(value(row)) %}
<td class="n"
{%- if number | string != shown %} data-sort="{{ number if number is not none }}"{% endif %}>{{ shown }}
{% endfor %}
<td class="remark"{{ remark | csv_if_odd }}>{{ remark }}</tr>
{% endfor %}
</tbody></table></div>
"""

_COLUMNS: list[tuple[str, str, Callable[[Row], float | None], Callable[[float | None], str]]] = [
    ("Learnt", "values above the sign-flip edge: learnt", lambda row: row["learnt"], number),
    ("Sign-flip p", "p-value of the sign flips", lambda row: row["sign_flip_p_value"], p_value),
    (
        "Above permutation",
        "values above the permutation edge",
        lambda row: row["n_above_permutation"],
        number,
    ),
    (
        "Above iid",
        "values above the iid edge (Marchenko-Pastur)",
        lambda row: None if row["upper_edge"] is None else row["n_above"],
        number,
    ),
    (
        "Below iid",
        "values below the lower iid edge (Marchenko-Pastur)",
        lambda row: None if row["upper_edge"] is None else row["n_below"],
        number,
    ),
    ("Outside", "share of values outside the iid edges", outside, percent),
    ("KS", "largest gap to the Marchenko-Pastur law (KS distance)", lambda row: row["ks"], number),
    (
        "Effective rank",
        "effective rank: exponential of the entropy of the squared values",
        lambda row: row["effective_rank"],
        number,
    ),
    (
        "Stable rank",
        "stable rank: sum of the squared values over the largest",
        lambda row: row["stable_rank"],
        number,
    ),
]


def section(records: Records) -> Section | None:
    if not records.spectra:
        return None
    return Section(
        key="verdicts",
        title="Verdicts: all matrices",
        template=_TEMPLATE,
        values={"rows": records.spectra, "columns": _COLUMNS},
        shows="Counts of singular values beyond each kind of noise, with ranks and remarks. Click a heading "
        "to sort, a name to see its spectrum; ! marks a remark. Ranks and remarks are further to the right: "
        "scroll the table.",
        surprise="Where learnt is far below the count above iid, most of what looks like signal is uneven "
        "scale of rows and columns. A matrix with no learnt value at all is where a smaller or "
        "pruned model might lose nothing; that is a hint, not a proof.",
    )
