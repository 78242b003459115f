"""Entropies by checkpoint: rows in order, names that tell them apart, and what can be shown of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from lmscope.report.records import Records, Row


@dataclass(frozen=True)
class Measure:
    """Columns of the records: the value, where there are any the ends of its interval, and what to see it
    beside."""

    label: str
    note: str
    value: str
    low: str = ""
    high: str = ""
    untrained: str = ""
    iid: str = ""
    cap: str = ""


def _average(label: str, note: str, value: str) -> Measure:
    return Measure(
        label,
        f"{note}; bands are 95 % intervals over texts (passages of a single one)",
        value,
        f"{value}_low",
        f"{value}_high",
    )


MEASURES = {
    "normalized": Measure(
        "Normalized entropy",
        "coding length of all tokens' states together, over the largest possible one: 0 to 1",
        "normalized",
        untrained="untrained_normalized",
        iid="iid_normalized",
        cap="cap",
    ),
    "mean_normalized": _average(
        "Normalized entropy, mean of passages", "each passage by itself, then the mean", "mean_normalized"
    ),
    "effective_rank": Measure(
        "Effective rank",
        "how many directions share the variance of all tokens' states evenly",
        "effective_rank",
        untrained="untrained_effective_rank",
        iid="iid_effective_rank",
    ),
    "mean_effective_rank": _average(
        "Effective rank, mean of passages",
        "exponential of the mean of the passages' matrix entropies",
        "mean_effective_rank",
    ),
    "diff_erank": Measure(
        "Diff-eRank",
        "effective rank of the untrained twin less the model's, all tokens together",
        "diff_erank",
    ),
    "mean_diff_erank": _average(
        "Diff-eRank, mean of passages",
        "the untrained twin's effective rank less the model's, from means over passages",
        "mean_diff_erank",
    ),
    "directions": Measure(
        "Directions",
        "equally strong directions that would have the same normalized entropy",
        "directions",
    ),
}


@dataclass(frozen=True)
class CheckpointRows:
    """A checkpoint's rows, the first layer's first."""

    label: str
    rows: list[Row]

    @property
    def last(self) -> Row:
        return self.rows[-1]


def by_checkpoint(records: Records) -> list[CheckpointRows]:
    """The smallest checkpoint first; those of one name have the beginning of their identity behind it."""
    rows = sorted(
        records.rows("entropy"),
        key=lambda row: (row["parameters"], row["checkpoint"], row["identity"], row["layer"]),
    )
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["identity"])]
    names = Counter(group[0]["checkpoint"] for group in groups)
    return [
        CheckpointRows(
            group[0]["checkpoint"]
            + (f" ({group[0]['identity'][:6]})" if names[group[0]["checkpoint"]] > 1 else ""),
            group,
        )
        for group in groups
    ]


def shown_measures(checkpoints: list[CheckpointRows]) -> dict[str, Measure]:
    """Those that any row has a value of."""
    rows = [row for one in checkpoints for row in one.rows]
    return {
        key: measure
        for key, measure in MEASURES.items()
        if any(row[measure.value] is not None for row in rows)
    }
