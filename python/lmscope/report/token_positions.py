"""The sampled positions that the page shows one by one, with their passages and what was selected."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby

from lmscope.report.records import Records, Row
from lmscope.report.token_text import alone
from lmscope.report.words import count

MOST_POSITIONS = 30
"""A strip of tokens with its scores takes about 40 kB of the page."""


@dataclass(frozen=True)
class Position:
    """``row`` is of the positions, ``passage`` that of its window, ``selections`` all choices made there."""

    row: Row
    passage: Row
    selections: list[Row]

    @property
    def key(self) -> str:
        return "-".join(str(self.row[name]) for name in ("text", "window", "position"))

    @property
    def place(self) -> int:
        """Among the tokens of the passage."""
        return int(self.row["position"])

    @property
    def passage_name(self) -> str:
        window = f", window {self.row['window']}" if self.row["window"] else ""
        return f"text {self.row['text']}{window}"

    @property
    def name(self) -> str:
        return f"{self.passage_name}, token {self.place} {alone(self.passage['tokens'][self.place])}"


def shown_positions(records: Records) -> list[Position]:
    """Of at most so many positions as a page holds, whole passages taken evenly from first to last."""
    rows = sorted(records.rows("positions"), key=lambda row: (row["text"], row["window"], row["position"]))
    passages = {(row["text"], row["window"]): row for row in records.rows("passages")}
    by_passage = [list(group) for _, group in groupby(rows, key=lambda row: (row["text"], row["window"]))]
    wanted = _spread(by_passage)
    places = {(row["text"], row["window"], row["position"]) for row in wanted}
    chosen: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    for row in records.rows("selection"):
        place = row["text"], row["window"], row["position"]
        if place in places:
            chosen[place].append(row)
    return [
        Position(
            row, passages[row["text"], row["window"]], chosen[row["text"], row["window"], row["position"]]
        )
        for row in wanted
        if (row["text"], row["window"]) in passages
    ]


def how_many(records: Records, shown: list[Position]) -> str:
    """``30 of 200 sampled positions``, or all of them."""
    held = len(records.rows("positions"))
    of_all = f"All {held}" if len(shown) == held else f"{len(shown)} of {held}"
    return (
        f"{of_all} sampled {'position' if held == 1 else 'positions'} of {count(_passages(shown), 'passage')}"
    )


def _passages(shown: list[Position]) -> int:
    return len({position.passage_name for position in shown})


def _spread(by_passage: list[list[Row]]) -> list[Row]:
    held = sum(map(len, by_passage))
    if held <= MOST_POSITIONS:
        return [row for rows in by_passage for row in rows]
    room = max(1, MOST_POSITIONS * len(by_passage) // held)
    taken = [by_passage[place * len(by_passage) // room] for place in range(room)]
    return [row for rows in taken for row in rows][:MOST_POSITIONS]
