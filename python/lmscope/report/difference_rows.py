"""Differences of two checkpoints: their rows in the page's order, and the numbers that the map shows."""

from __future__ import annotations

from lmscope.report.measures import Measure
from lmscope.report.records import Records, Row, role_place
from lmscope.report.words import as_html, number, percent, plain, shape


def change(value: float | None) -> str:
    """A relative change in percent, small ones with their digits."""
    return "–" if value is None else f"{number(100 * value, 2)} %"


MEASURES = {
    "relative_change": Measure(
        "Relative change",
        "size of the difference over that of the base (Frobenius norms)",
        lambda row: row["relative_change"],
        change,
        tick_format=".2~%",
    ),
    "above_rounding": Measure(
        "Values above rounding",
        "singular values of the difference that the rounding of the stored numbers does not reach",
        lambda row: row["n_above_rounding"],
    ),
    "energy": Measure(
        "Energy above rounding",
        "share of the difference's squared size that lies in these values",
        lambda row: row["energy_above_rounding"],
        percent,
        tick_format=".0%",
    ),
    "learnt": Measure(
        "Values learnt",
        "singular values of the difference above every random flip of its entries' signs",
        lambda row: row["learnt"],
    ),
    "effective_rank": Measure(
        "Effective rank",
        "how many directions share the difference evenly (exponential of its entropy)",
        lambda row: row["effective_rank"],
        range_from_smallest=True,
    ),
    "changed": Measure(
        "Entries changed",
        "share of the entries that differ at all",
        lambda row: row["changed_share"],
        percent,
        tick_format=".0%",
    ),
}


def difference_rows(records: Records) -> list[Row]:
    """Without their spectra, sorted by layer, role and expert; matrices without a layer first."""
    return sorted(records.without_lists("difference"), key=_place)


def hover(row: Row) -> str:
    """What the map says of one matrix."""
    about = f"<b>{as_html(row['name'])}</b><br>{plain(row['role'])}, {shape(row['rows'], row['columns'])}"
    if row["identical"]:
        return f"{about}<br>identical"
    values = min(row["rows"], row["columns"])
    return "<br>".join(
        [
            about,
            f"change {change(row['relative_change'])}, {percent(row['changed_share'])} of the entries"
            + (f" ({where_changed(row)})" if row["changed_share"] < 1 else ""),
            f"{number(row['n_above_rounding'])} of {number(values)} values above rounding, "
            f"{percent(row['energy_above_rounding'])} of the energy",
            f"learnt (above sign flips): {number(row['learnt'])}; "
            f"effective rank {number(row['effective_rank'])}",
        ]
    )


def where_changed(row: Row) -> str:
    """In how many rows and columns the entries lie that differ."""
    return (
        f"in {number(row['changed_rows'])} of {number(row['rows'])} rows and "
        f"{number(row['changed_columns'])} of {number(row['columns'])} columns"
    )


def _place(row: Row) -> tuple[int, int, int, str]:
    layer, expert = (-1 if row[key] is None else row[key] for key in ("layer", "expert"))
    return layer, role_place(row["role"]), expert, row["name"]
