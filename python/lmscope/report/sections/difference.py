"""What moved between two checkpoints: a map of layers and roles, and every matrix in a table."""

from __future__ import annotations

from lmscope.analyses.moved_matrices import moved_matrices, unrelated_matrices
from lmscope.report.difference_rows import MEASURES, change, difference_rows, hover
from lmscope.report.records import Records
from lmscope.report.role_map import role_map
from lmscope.report.sections import Section

ORDER = 14

_TEMPLATE = """
{% from "controls.html.jinja" import find, heading, measure_choice %}
<p class="note">{{ same }} of {{ rows | length }} matrices are identical in {{ other }}, {{ moved }}.</p>
{% for text in unmatched %}<p class="warning">{{ text }}</p>{% endfor %}
{% if unrelated %}<p class="warning">Scores of {{ unrelated | length }} lie near chance and their entries do
not agree: other matrices in the same place, no tuning.</p>{% endif %}
{% if figure %}
{{ measure_choice("Colour shows", figure, "difference", "difference") }}
<div class="figure" id="difference" role="img" aria-label="Map of what moved, by layer and role"></div>
{% endif %}
<h3>All matrices</h3>
{{ find("difference-table", "name, role …") }}
<div class="scroll tall"><table class="sortable" id="difference-table" data-file="difference">
<thead><tr>{{ heading("Matrix", csv=["Matrix", "Its twin", "Base holds", "Tuned holds"]) }}
{{ heading("Layer", true) }}
{{ heading("Role", csv=["Role", "Expert"]) }}
{{ heading("Change", true, "size of the difference over the base's") }}
{{ heading("Entries changed", true) }}{{ heading("Above rounding", true) }}{{ heading("Energy above", true) }}
{{ heading("Learnt", true, "values above random sign flips") }}{{ heading("Effective rank", true) }}
</tr></thead>
<tbody>
{% for index, row in rows %}
<tr><td class="name" data-csv='{{ csv(row) | tojson }}'>
{% if row.identical %}{{ row.name }}{% else %}
<button class="link" data-show="difference_spectrum" data-key="{{ index }}">{{ row.name }}</button>{% endif %}
<td class="n" data-sort="{{ row.layer if row.layer is not none }}">{{ row.layer | number }}
<td data-csv='{{ [row.role, row.expert] | tojson }}'>
{{ row.role | plain }}{% if row.expert is not none %} · expert {{ row.expert }}{% endif %}
<td class="n" data-sort="{{ row.relative_change if row.relative_change is not none }}">
{{ "identical" if row.identical else change(row.relative_change) }}
<td class="n" data-sort="{{ row.changed_share }}">{{ row.changed_share | percent }}
<td class="n">{{ row.n_above_rounding | number }}
<td class="n" data-sort="{{ row.energy_above_rounding if row.energy_above_rounding is not none }}">
{{ row.energy_above_rounding | percent }}
<td class="n">{{ row.learnt | number }}
<td class="n" data-sort="{{ row.effective_rank if row.effective_rank is not none }}">
{{ row.effective_rank | number }}</tr>
{% endfor %}
</tbody></table></div>
"""


def section(records: Records) -> Section | None:
    rows = difference_rows(records)
    if not rows:
        return None
    in_layers = [(index, row) for index, row in enumerate(rows) if row["layer"] is not None]
    same = sum(row["identical"] for row in rows)
    settings = records.settings("difference")
    twins = records.settings("twins").get("other") == settings["other"]
    excess = {row["name_x"]: row["excess"] for row in records.without_lists("twins")} if twins else {}
    figure = None
    if in_layers:
        figure = role_map(
            in_layers,
            MEASURES,
            hover,
            first="relative_change",
            selects="difference_spectrum" if same < len(rows) else "",
            selectable=lambda row: not row["identical"],
        )
    return Section(
        key="difference",
        title="Difference: what moved",
        template=_TEMPLATE,
        values={
            "rows": list(enumerate(rows)),
            "figure": figure,
            "change": change,
            "csv": lambda row: [
                row[key] for key in ("name", "tuned_name", "base_precision", "tuned_precision")
            ],
            "same": same,
            "moved": moved_matrices(rows, settings["draws"]).sentence(),
            "unmatched": settings.get("unmatched", []),
            "unrelated": unrelated_matrices(rows, excess),
            "other": settings["other_name"],
        },
        shows="One cell per matrix, tuned minus base. Click a cell, or a name in the table, to see the "
        "spectrum of its difference below; matrices without a layer are in the table alone.",
        surprise="A change without a value above the rounding is what storing the numbers does by itself; of "
        "many such matrices some have a value above it by chance. The same small count in every touched "
        "matrix is the rank of a merged adapter. A matrix that should "
        "have been frozen and is not identical deserves a look.",
        figure=figure,
    )
