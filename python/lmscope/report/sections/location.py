"""Where in the model weights differ most from noise, by their vectors, values, overlaps and lesions."""

from __future__ import annotations

from collections.abc import Callable

from lmscope.report.location_rows import matrices, of_which, remarks
from lmscope.report.measures import Measure
from lmscope.report.records import Records, Row
from lmscope.report.role_map import role_map
from lmscope.report.sections import Section
from lmscope.report.words import as_html, number, shape

ORDER = 51

_TEMPLATE = """
{% from "controls.html.jinja" import apart_table, measure_choice, remarks %}
{{ remarks(said) }}
{% if figure %}
{{ measure_choice("Colour shows", figure, "location", "location") }}
<div class="figure" id="location" role="img" aria-label="Map of layers and roles"></div>
{% endif %}
{% if apart %}
{{ apart_table("Matrices without a layer" if figure else "Matrices", apart, measures, "singular_vectors") }}
{% endif %}
"""


def section(records: Records) -> Section | None:
    rows = matrices(records)
    if not rows:
        return None
    measures = {
        key: measure
        for key, measure in {**_MEASURES, **_lesion_measures(rows)}.items()
        if any(measure.value(row) is not None for row in rows)
    }
    numbered = list(enumerate(rows))
    in_layers = [(index, row) for index, row in numbered if row["layer"] is not None]
    figure = None
    if in_layers and measures:
        figure = role_map(in_layers, measures, _hover, first=next(iter(measures)), selects="singular_vectors")
    return Section(
        key="location",
        title="Location: where weights differ from noise",
        template=_TEMPLATE,
        values={
            "figure": figure,
            "said": remarks(records),
            "apart": [(index, row) for index, row in numbered if row["layer"] is None],
            "measures": list(measures.values()),
        },
        shows="One cell per weight matrix: layers from left to right, roles from top to bottom. The singular "
        "values of each are cut into slices of equal count, from the smallest to the largest; colours show "
        "one slice or the one that stands out most. Click a cell to see its singular vectors and overlaps "
        f"below.{of_which(records)}",
        surprise="Roles that behave alike in every layer are what the literature reports; a layer that "
        "breaks the pattern of its role is a finding. The most deviating of several slices is above 0 on "
        "noise, too: compare cells with each other, and with the curves of the untrained twin below.",
        figure=figure,
    )


def _of_slice(column: str, place: int) -> Callable[[Row], float | None]:
    return lambda row: row["slices"][place][column] if row["slices"] else None


def _most(column: str) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        return max((one[column] for one in row["slices"] if one[column] is not None), default=None)

    return value


_VECTOR_NOTE = (
    "mean distance of singular vectors from random ones, right and left, in standard deviations of random "
    "vectors' (random: 0)"
)
_MEASURES = {
    "vector_any": Measure(
        "Vector deviation, slice that deviates most", _VECTOR_NOTE, _most("vector_deviation")
    ),
    "vector_smallest": Measure(
        "Vector deviation, smallest values", _VECTOR_NOTE, _of_slice("vector_deviation", 0)
    ),
    "vector_largest": Measure(
        "Vector deviation, largest values", _VECTOR_NOTE, _of_slice("vector_deviation", -1)
    ),
    "value": Measure(
        "Value deviation, slice that deviates most",
        "mean |log| of singular values over those of the fitted noise, less what noise has (noise: 0)",
        _most("value_deviation"),
    ),
    "overlap": Measure(
        "Overlap excess, slice that stands out most",
        "mean overlap with the inputs' covariance, over that of random directions, less 1",
        _most("overlap_excess"),
    ),
}


def _lesion_measures(rows: list[Row]) -> dict[str, Measure]:
    """One for each measure of lesions of single matrices."""
    units = {one["measure"]: one["unit"] for row in rows for one in row["lesions"]}

    def worst(measure: str) -> Callable[[Row], float | None]:
        return lambda row: max(
            (
                one["impact"]
                for one in row["lesions"]
                if (one["measure"], one["kind"]) == (measure, "lesion") and one["impact"] is not None
            ),
            default=None,
        )

    return {
        f"impact_{measure}": Measure(
            f"Lesion impact on {measure.replace('_', ' ')}, worst slice",
            f"largest harm done by removing one slice of this matrix alone, {unit}",
            worst(measure),
        )
        for measure, unit in units.items()
    }


def _hover(row: Row) -> str:
    overlaps = row["overlaps"]
    edges = as_html(row["mp_reason"])
    if not row["mp_reason"]:
        edges = f"outside the iid edges: {number(row['n_above'])} above, {number(row['n_below'])} below"
    deviations = ", ".join(number(one["vector_deviation"], 2) for one in row["slices"])
    return "<br>".join(
        [
            f"<b>{as_html(row['name'])}</b>",
            f"{shape(row['rows'], row['columns'])} {as_html(row['dtype'])}",
            edges,
            *([f"vector deviation, smallest values first: {deviations}"] if row["slices"] else []),
            *([f"overlaps with the inputs of {number(overlaps['tokens'])} tokens"] if overlaps else []),
        ]
    )
