"""What `unembedding` recorded, by checkpoint: those shown whole, and the series over training steps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from lmscope.report.records import Records, Row
from lmscope.report.token_text import alone
from lmscope.report.words import count

Choices = dict[str, str]
"""Key -> name of what a select offers."""


@dataclass(frozen=True)
class Checkpoint:
    """One that is shown by itself; ``key`` is its part of the figures' states."""

    key: str
    identity: str
    label: str

    def rows(self, records: Records, table: str) -> list[Row]:
        return [row for row in records.rows(table) if row["identity"] == self.identity]


def series(rows: list[Row]) -> dict[str, list[Row]]:
    """Series -> its rows by step, of those that have one; empty below two steps."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["step"] is not None:
            found[row["series"]].append(row)
    ordered = {name: sorted(some, key=lambda row: row["step"]) for name, some in found.items()}
    return {name: some for name, some in ordered.items() if len({row["step"] for row in some}) > 1}


def checkpoints(records: Records, table: str) -> list[Checkpoint]:
    """Those that the table holds, without the earlier steps of a training."""
    heads = records.without_lists("heads")
    last = {name: some[-1]["identity"] for name, some in series(heads).items()}
    held = {row["identity"] for row in records.without_lists(table)}
    shown = [
        row
        for row in heads
        if row["identity"] in held and last.get(row["series"], row["identity"]) == row["identity"]
    ]
    return [Checkpoint(str(at), row["identity"], row["checkpoint"]) for at, row in enumerate(shown)]


def names(shown: list[Checkpoint]) -> Choices:
    return {one.key: one.label for one in shown}


def of_label(label: str, shown: list[Checkpoint], one: Checkpoint) -> str:
    """The label of a state, with the checkpoint's where there are several."""
    return f"{one.label}: {label}" if len(shown) > 1 else label


def token_name(token: int, text: str | None) -> str:
    """A token as readers know it: its text , else its number."""
    if text is None:
        return f"token {token}"
    return f"{alone(text)} ({token})"


def steps_words(rows: list[Row]) -> str:
    steps = [row["step"] for row in rows]
    return f"{count(len(steps), 'step')} from {min(steps)} to {max(steps)}"
