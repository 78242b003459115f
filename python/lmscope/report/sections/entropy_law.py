"""Entropy against the size of the model: measured points, and the laws fitted to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lmscope.report.entropy_rows import CheckpointRows, by_checkpoint
from lmscope.report.figures import BLUE, STATE, VERMILLION, Figure, Variant, of_trace
from lmscope.report.records import Records, Row
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number

ORDER = 43

_FORMS = {"power": "power law", "power_offset": "power law and a constant"}
_LOOKS = {"power": (BLUE, "solid"), "power_offset": (VERMILLION, "dash")}
_CURVE_POINTS = 60
_ROOM_BEFORE, _ROOM_FOR_A_NAME = 0.08, 0.22
_MOST_CROWDED_DECADES = 3
_TELLING = 2
"""Difference of AICc below which neither form is better supported (Burnham and Anderson 2002)."""

_TEMPLATE = """
{% for what, reason in refused %}<p class="warning">{{ what }} fitted: {{ reason }}</p>{% endfor %}
{% if figure %}
<div class="controls"><button data-save="entropy_law">Data (CSV)</button></div>
<div class="figure" id="entropy_law" role="img"
aria-label="Entropy over that of random rows against parameters"></div>
{% endif %}
{% if fits %}
<div class="scroll"><table><thead><tr><th>Form<th class="n">Exponent<th class="n">95 % interval
<th class="n">Constant<th class="n">R²<th class="n">AIC<th class="n">AICc
<th class="n">Models</tr></thead><tbody>
{% for row in fits %}
<tr><td>{{ forms[row.form] }}<td class="n">{{ row.exponent | number }}
<td class="n">{{ row.exponent_low | number }} to {{ row.exponent_high | number }}
<td class="n">{{ row.offset | number if row.form == "power_offset" else "–" }}
<td class="n">{{ row.r2 | number }}<td class="n">{{ row.aic | number }}
<td class="n">{% if row.aicc is not none %}{{ row.aicc | number }}{% endif %}
<td class="n">{{ row.models }}</tr>
{% endfor %}
</tbody></table></div>
<p class="note">{{ verdict }}</p>
{% endif %}
"""


def section(records: Records) -> Section | None:
    rows = records.rows("entropy_law")
    checkpoints = by_checkpoint(records)
    if not rows or not checkpoints:
        return None
    fits = [row for row in rows if row["refused"] is None]
    seen = [one for one in checkpoints if one.last["layer"] == one.last["layers"]]
    figure = _figure(seen, fits) if len(seen) > 1 else None
    return Section(
        key="entropy_law",
        title="Law: entropy against size",
        template=_TEMPLATE,
        values={
            "figure": figure,
            "forms": _FORMS,
            "fits": fits,
            "refused": _refused(rows),
            "verdict": _verdict(fits),
        },
        shows="One point per checkpoint: normalized entropy of its last layer, over that of random rows as "
        "many and as wide, against its parameters; both axes are logarithmic. Dividing by the random rows "
        "takes off what width alone does: on noise, too, entropy falls with width and looks like a law.",
        surprise="An exponent whose interval contains 0 is no law. Two forms of nearly equal AICc: the "
        "sizes cannot tell them apart. A point off the line is a model that was trained otherwise.",
        figure=figure,
    )


def _refused(rows: list[Row]) -> list[tuple[str, str]]:
    """What was not fitted, and why; no form by itself where all are refused for one reason."""
    reasons = {row["form"]: row["refused"] for row in rows if row["refused"] is not None}
    if len(reasons) == len(rows) and len(set(reasons.values())) == 1:
        return [("No law was", rows[0]["refused"])]
    return [(f"{_FORMS[form].capitalize()}: not", reason) for form, reason in reasons.items()]


def _verdict(fits: list[Row]) -> str:
    if not fits:
        return ""
    best, *others = sorted(fits, key=_aicc)
    if best["exponent_low"] <= 0 <= best["exponent_high"]:
        form = _FORMS[best["form"]]
        return f"The interval of the exponent of the {form} contains 0: these models show no law."
    way = "grows" if best["exponent"] > 0 else "shrinks"
    words = f"Entropy over that of random rows {way} with size: exponent {number(best['exponent'])}"
    if not others:
        return f"{words}."
    if math.isinf(_aicc(others[0])):
        return (
            f"{words} in the {_FORMS[best['form']]}; too few models to say whether the other form is better."
        )
    apart = _aicc(others[0]) - _aicc(best)
    telling = "" if apart >= _TELLING else ", too little to prefer it to the other"
    return f"{words} in the {_FORMS[best['form']]}, the form of the lower AICc (by {number(apart)}{telling})."


def _aicc(row: Row) -> float:
    """Of equals, as where both are infinite, the power law comes first."""
    return math.inf if row["aicc"] is None else float(row["aicc"])


def _figure(seen: list[CheckpointRows], fits: list[Row]) -> Figure:
    sizes = [one.last["parameters"] for one in seen]
    ratios = [one.last["normalized"] / one.last["iid_normalized"] for one in seen]
    points = {
        "type": "scatter",
        "mode": "markers+text",
        "name": "checkpoint",
        "x": sizes,
        "y": ratios,
        "text": [as_html(one.label) for one in seen],
        "textposition": f"{'top' if ratios[0] >= ratios[-1] else 'bottom'} right",
        "textfont": {"size": 11},
        "marker": {"color": BLUE, "size": 10},
        "cliponaxis": False,
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{as_html(one.label)}</b><br>{number(one.last['parameters'])} parameters"
            f"<br>{number(ratio, 4)} of random rows: {number(one.last['normalized'], 4)} beside "
            f"{number(one.last['iid_normalized'], 4)}"
            for one, ratio in zip(seen, ratios, strict=True)
        ],
    }
    start, decades = math.log10(min(sizes)), math.log10(max(sizes) / min(sizes)) or 1.0
    first, last = start - _ROOM_BEFORE * decades, start + (1 + _ROOM_FOR_A_NAME) * decades
    ticks = _ticks(10**first, 10**last)
    grid = np.geomspace(min(sizes), max(sizes), _CURVE_POINTS)
    curves = [_curve(row, grid) for row in fits]
    label = "Entropy over random rows"
    return Figure(
        [points, *curves],
        {
            "height": 420,
            "margin": {"l": 10, "r": 30, "t": 34, "b": 44},
            "hovermode": "closest",
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {
                "type": "log",
                "title": {"text": "parameters"},
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
                "range": [first, last],
                "tickmode": "array",
                "tickvals": ticks,
                "ticktext": [_short(tick) for tick in ticks],
            },
            "yaxis": {
                "type": "log",
                "title": {"text": "model / random rows"},
                "automargin": True,
                "fixedrange": True,
            },
        },
        {"ratio": label},
        lambda key: Variant(
            label,
            [{} for _ in range(1 + len(curves))],
            note="normalized entropy of the last layer over that of random rows as many and as wide",
        ),
        first="ratio",
        columns=["what", "checkpoint", "parameters", STATE],
        parts=[
            ["checkpoint", [one.label for one in seen], of_trace(0, "x"), of_trace(0, "y")],
            *(
                [_FORMS[row["form"]], "", of_trace(index, "x"), of_trace(index, "y")]
                for index, row in enumerate(fits, start=1)
            ),
        ],
    )


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade, or 1 alone where these would crowd."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < _MOST_CROWDED_DECADES else (1,)
    return [value for power in decades for step in steps if low <= (value := step * 10.0**power) <= high]


def _short(parameters: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= size:
            return f"{parameters / size:g}{unit}"
    return f"{parameters:g}"


def _curve(row: Row, grid: Any) -> dict[str, Any]:
    colour, dash = _LOOKS[row["form"]]
    values = row["coefficient"] * grid ** row["exponent"] + row["offset"]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{_FORMS[row['form']]}: exponent {number(row['exponent'])} "
        f"[{number(row['exponent_low'])}, {number(row['exponent_high'])}]",
        "x": [float(f"{size:.6g}") for size in grid],
        "y": [float(value) if value > 0 else None for value in values],
        "line": {"color": colour, "width": 2, "dash": dash},
        "hoverinfo": "skip",
    }
