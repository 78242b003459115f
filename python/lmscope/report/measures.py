"""The numbers that map, lines and tables show of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lmscope.report.records import Row
from lmscope.report.words import number, percent


@dataclass(frozen=True)
class Measure:
    """``tick_format`` is d3's.

    Of pairs, ``chance`` gives where a map's colours begin (of shares 0); they span ``least_range`` at least.
    """

    label: str
    note: str
    value: Callable[[Row], float | None]
    words: Callable[[float | None], str] = number
    tick_format: str = ""
    range_from_smallest: bool = False
    chance: Callable[[Row], float | None] | None = None
    least_range: float = 0.05


def outside(row: Row) -> float | None:
    """Share of singular values outside the Marchenko-Pastur edges; None where none could be fitted."""
    if row["upper_edge"] is None or not row["M"]:
        return None
    return float((row["n_below"] or 0) + (row["n_above"] or 0)) / float(row["M"])


MEASURES = {
    "learnt": Measure(
        "Values learnt",
        "singular values above every random sign flip of the entries",
        lambda row: row["learnt"],
    ),
    "outside": Measure(
        "Share outside the noise",
        "share of singular values outside the Marchenko–Pastur edges; overcounts where entries are uneven",
        outside,
        percent,
        tick_format=".0%",
    ),
    "ks": Measure(
        "KS distance",
        "largest gap between the spectrum and the Marchenko–Pastur law (Kolmogorov–Smirnov, 0 to 1)",
        lambda row: row["ks"],
    ),
    "effective_rank": Measure(
        "Effective rank",
        "how many directions share the energy evenly (exponential of its entropy)",
        lambda row: row["effective_rank"],
        range_from_smallest=True,
    ),
    "stable_rank": Measure(
        "Stable rank",
        "total energy over that of the strongest direction",
        lambda row: row["stable_rank"],
        range_from_smallest=True,
    ),
}
NAMES = {key: measure.label for key, measure in MEASURES.items()}
