"""Pairs of matrices on the page: which ones have a chart of their own, and what they are called."""

from __future__ import annotations

from typing import Any

from lmscope.report.pair_measures import PAIR_MEASURES
from lmscope.report.records import Records
from lmscope.report.words import as_html, number, p_value, plain

PairRow = dict[str, Any]

_MOST_CHARTS = 1200


def charted(records: Records) -> dict[int, str]:
    """Place among the pairs -> key of its chart.

    All pairs, or in large models those of neighbours, so that the page stays small enough to send.
    """
    rows = heads(records)
    wanted = list(range(len(rows)))
    if len(rows) > _MOST_CHARTS:
        beside = [place for place in wanted if _are_neighbours(rows[place])]
        wanted = beside[:_MOST_CHARTS]
    return {place: str(place) for place in wanted if rows[place]["pairs"]}


def heads(records: Records) -> list[PairRow]:
    """The pairs without their histograms."""
    return records.without_lists("similarity")


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
    values = [f"{measure.label}: {measure.words(measure.value(row))}" for measure in PAIR_MEASURES.values()]
    null = [f"random signs: {against_signs(row)}"] if row["null_mean"] is not None else []
    same = ["identical tensors, not compared"] if row["identical"] else []
    none = [row["warning"]] if row["warning"] else []
    words = [*same, *none, *values, f"chance: {number(row['baseline'])}", *null]
    return "<br>".join([f"<b>{as_html(name(row))}</b>", *map(as_html, words)])


def _are_neighbours(row: PairRow) -> bool:
    return bool(row["null_draws"]) or row["position_y"] - row["position_x"] == 1
