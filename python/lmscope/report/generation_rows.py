"""What changed heads generate, beside the untouched one."""

from __future__ import annotations

from markupsafe import Markup

from lmscope.report.records import Row
from lmscope.report.steering_rows import factor_words
from lmscope.report.templates import render
from lmscope.report.unembedding_rows import token_name
from lmscope.report.words import percent, plain

_REMOVED = {"least": "least contribution", "most": "most contribution", "random": "random"}
KINDS = ("untouched", "steered", "least", "random", "most")

_TABLE = """
{% if rows %}
<h3>Greedy continuations</h3>
<div class="scroll"><table><thead><tr><th>Head<th class="n">New tokens<th class="n">Distinct 1
<th class="n">Distinct 2<th class="n">Distinct 3<th class="n">Repetition<th class="n">As untouched
<th class="n">MAUVE<th class="n">Steered token's share: untouched → steered<th>Examples</tr></thead><tbody>
{% for name, row, shares in rows %}
<tr><td>{{ name }}<td class="n">{{ row.new_tokens | number }}
<td class="n">{{ row.distinct_1 | number }}<td class="n">{{ row.distinct_2 | number }}
<td class="n">{{ row.distinct_3 | number }}<td class="n">{{ row.repetition | percent }}
<td class="n">{{ row.same_tokens | percent }}<td class="n">{{ row.mauve | number }}
<td class="n">{{ shares }}
<td class="said">{% if row.examples %}<details><summary>{{ row.examples | length }}</summary>
{% for text in row.examples %}<p>{{ text }}</p>{% endfor %}</details>{% endif %}</tr>
{% endfor %}
</tbody></table></div>
{% for text in reasons %}<p class="note">MAUVE: {{ text }}.</p>{% endfor %}
<p class="note">Distinct n: different runs of n tokens over all of them; the longer a text, the lower it is,
so that only rows of equally many tokens compare. Greedy decoding repeats itself also untouched.</p>
{% endif %}
"""


def generation_table(rows: list[Row]) -> Markup:
    """A table of them, the untouched first; nothing where there are none."""
    known = sorted(
        rows,
        key=lambda row: (KINDS.index(row["kind"]), row["share"] or 0, row["token"] or 0, row["factor"] or 0),
    )
    changed = [row for row in known if row["kind"] != "untouched"]
    reasons = dict.fromkeys(row["mauve_reason"].rstrip(".") for row in changed if row["mauve_reason"])
    return render(_TABLE, rows=[(_name(row), row, _shares(row)) for row in known], reasons=list(reasons))


def _name(row: Row) -> str:
    if row["kind"] == "steered":
        named = token_name(row["token"], row["token_text"])
        return f"{named} × {factor_words(row['factor'])} ({plain(row['allocation'])})"
    if row["kind"] in _REMOVED:
        return f"without {percent(row['share'])} of the coordinates ({_REMOVED[row['kind']]})"
    return str(row["kind"])


def _shares(row: Row) -> str:
    if row["token_share"] is None:
        return ""
    return f"{percent(row['untouched_token_share'])} → {percent(row['token_share'])}"
