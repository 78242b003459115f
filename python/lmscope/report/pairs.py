"""Pairs of matrices on the page: which ones have a chart of their own, and what they are called."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

from lmscope.report.pair_measures import INDEX_MEASURES, PAIR_MEASURES
from lmscope.report.records import Records
from lmscope.report.words import as_html, number, p_value, plain

PairRow = dict[str, Any]

_MOST_CHARTS = 1200


def charted(records: Records) -> dict[int, str]:
    """Place among the pairs -> key of its chart.

    All pairs, or in large models, so that the page stays small enough to send, those of the largest excess
    in every role for one half, then those of neighbours, then again by excess.
    """
    rows = heads(records)
    wanted = [place for place, row in enumerate(rows) if row["pairs"] and not row["warning"]]
    if len(wanted) > _MOST_CHARTS:
        ranked = _by_excess(rows, wanted)
        first = ranked[: _MOST_CHARTS // 2]
        beside = [place for place in wanted if _are_neighbours(rows[place])]
        wanted = sorted(list(dict.fromkeys([*first, *beside, *ranked]))[:_MOST_CHARTS])
    return {place: str(place) for place in wanted}


def uncharted(row: PairRow) -> str:
    """Key, among `WHY_UNCHARTED`, of why a pair has no chart."""
    return "identical" if row["identical"] else "none" if row["warning"] or not row["pairs"] else "left_out"


WHY_UNCHARTED = {
    "identical": "Identical tensors: every vector has itself for a partner, so they were not compared.",
    "none": "This pair could not be compared: the map says why under the pointer.",
    "left_out": "In so large a model the page holds the histograms of the largest excess in every role, "
    "and of neighbours. The numbers of this pair stand in the map under the pointer; "
    "run.table('similarity') has its histogram.",
}


def heads(records: Records) -> list[PairRow]:
    """The pairs without their histograms."""
    return records.without_lists("similarity")


def heads_with_indices(records: Records) -> list[PairRow]:
    """`heads`, each with the other indices where the run has them under the same vectors."""
    found = {(row["name_x"], row["name_y"]): row for row in _indices(records)}
    return [
        {**row, **{key: beside[key] for key in INDEX_MEASURES}}
        if (beside := found.get((row["name_x"], row["name_y"])))
        else row
        for row in heads(records)
    ]


def roles_with_indices(records: Records) -> list[str]:
    """Roles that other indices were asked for, under the same vectors as the similarities."""
    return list(dict.fromkeys(row["role"] for row in _indices(records)))


def has_control(records: Records) -> bool:
    """Whether random matrices were compared under the settings of the similarities."""
    return "control" in records.analyses and records.settings("control") == records.settings("similarity")


def name(row: PairRow) -> str:
    """``query, layers 0 and 3``."""
    first, second = (
        f"{row[f'layer_{side}']}"
        + (f" expert {row[f'expert_{side}']}" if row[f"expert_{side}"] is not None else "")
        for side in "xy"
    )
    return f"{plain(row['role'])}, layers {first} and {second}"


def against_signs(row: PairRow) -> str:
    """The score beside that under random signs, with the law that so few draws give."""
    draws = row["null_draws"]
    of_draws = f"{number(row['null_mean'])} in {draws} draw{'' if draws == 1 else 's'}"
    if row["null_p_value"] is None:
        return of_draws
    return f"{of_draws} (z {number(row['z'])}, p {p_value(row['null_p_value'])})"


def hover(row: PairRow) -> str:
    measures = [*PAIR_MEASURES.values(), *(INDEX_MEASURES[key] for key in INDEX_MEASURES if key in row)]
    values = [f"{measure.label}: {measure.words(measure.value(row))}" for measure in measures]
    null = [f"random signs: {against_signs(row)}"] if row["null_mean"] is not None else []
    same = ["identical tensors, not compared"] if row["identical"] else []
    none = [row["warning"]] if row["warning"] else []
    words = [*same, *none, *values, f"chance: {number(row['baseline'])}", *null]
    return "<br>".join([f"<b>{as_html(name(row))}</b>", *map(as_html, words)])


def _indices(records: Records) -> list[PairRow]:
    """None where they are of other vectors than the similarities."""
    if records.settings("indices").get("vectors") != records.settings("similarity").get("vectors"):
        return []
    return records.without_lists("indices")


def _by_excess(rows: list[PairRow], places: list[int]) -> list[int]:
    """Places by excess, the largest first; roles take turns."""
    of_role: dict[str, list[int]] = {}
    for place in sorted(places, key=lambda place: -(rows[place]["excess"] or 0.0)):
        of_role.setdefault(rows[place]["role"], []).append(place)
    turns = chain.from_iterable(zip_longest(*of_role.values()))
    return [place for place in turns if place is not None]


def _are_neighbours(row: PairRow) -> bool:
    return bool(row["null_draws"]) or row["position_y"] - row["position_x"] == 1
