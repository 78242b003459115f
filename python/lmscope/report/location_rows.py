"""What `localize` found of each matrix of one checkpoint, put together, and what limits it."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

from lmscope.report.records import Records, Row
from lmscope.report.words import count, number, percent, plain

_MOST_REASONS = 3
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_MIXED = "Files such as Q4_K_M mix 4-bit and finer matrices."
_HALF = {"bfloat16": 8, "float16": 11}
"""Stored type -> bits of the significand."""


def matrices(records: Records) -> list[Row]:
    """One row per matrix: that of its vectors, and beside it

    ``slices`` (its rows, slice 1 first), ``overlaps`` (its row or None) and ``lesions`` (rows in which it
    alone was lesioned).
    """
    slices: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(records.shown("slices"), key=lambda row: row["slice"]):
        slices[row["name"]].append(row)
    overlaps = {row["name"]: row for row in records.shown("overlap")}
    lesions: dict[str, list[Row]] = defaultdict(list)
    for row in records.shown("lesions"):
        if row["target_kind"] == "matrix":
            lesions[row["target"]].append(row)
    return [
        {
            **row,
            "slices": slices[row["name"]],
            "overlaps": overlaps.get(row["name"]),
            "lesions": lesions[row["name"]],
        }
        for row in records.vectors
    ]


ROUNDING = 0.01
"""Share of the removed energy above which rounding is remarked on."""


def remarks(records: Records) -> list[str]:
    """What limits the singular vectors and values of the checkpoint and its lesions, in words; each once.

    Warnings that differ in their numbers alone are one, with the range of each number.
    """
    rows = records.vectors
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["warning"]:
            by_kind[_NUMBER.sub("#", row["warning"])][row["warning"]] += 1
    told = []
    for texts in by_kind.values():
        text = _with_ranges(list(texts))
        mixed = f" {_MIXED}" if "quantised" in text else ""
        told.append(f"{_of(texts.total(), len(rows))}: {text}{mixed}")
    for dtype, bits in _HALF.items():
        held = sum(row["dtype"] == dtype and not row["warning"] for row in rows)
        if held:
            told.append(
                f"{_of(held, len(rows))}: stored as {dtype} ({bits} significant bits). Rounding adds "
                "noise to every entry, which blurs the smallest singular values and their vectors first."
            )
    return [*told, *_of_lesions(records.shown("lesions"))]


def _of_lesions(rows: list[Row]) -> list[str]:
    """Roles that were not lesioned whole, and lesions that are rounding to a part that matters."""
    told = []
    parts = {row["target"]: row for row in rows if row["matrices"] < row["of_matrices"]}
    for role, row in parts.items():
        told.append(
            f"Lesions of {plain(role)} are of {row['matrices']} of the {row['of_matrices']} matrices "
            "that were selected: the others cannot be changed by themselves."
        )
    rounded = [row for row in rows if (row["rounding"] or 0.0) > ROUNDING]
    if rounded:
        largest = max(row["rounding"] for row in rounded)
        told.append(
            f"{len(rounded)} of {count(len(rows), 'row')} of lesions have more than {percent(ROUNDING)} of "
            f"the removed energy in rounding to the weights' type, up to {percent(largest)}: there the model "
            "runs in too few bits for slices so small."
        )
    return told


def lesion_remarks(records: Records) -> list[str]:
    """What the measures of the lesions lack for want of several texts, and the way out."""
    rows = records.shown("lesions")
    measured = {row["measure"] for row in rows}
    told = []
    # Where measures were asked for by name, none was left out.
    by_default = not records.settings("lesions").get("measures")
    if by_default and "embedding" in measured and "retrieval" not in measured:
        told.append("Retrieval was not measured: it needs several texts; try --split paragraph.")
    embedding = [row for row in rows if row["measure"] == "embedding"]
    if embedding and all(row["impact_low"] is None for row in embedding):
        few = count(embedding[0]["units"], "text")
        told.append(f"Embedding has no intervals, for want of texts ({few}); try --split paragraph.")
    return told


def failures(records: Records, analysis: str) -> list[str]:
    """Why records of an analysis could not be had, the most frequent reasons first."""
    if analysis not in records.analyses:
        return []
    reasons = Counter(records.failures(analysis).values())
    told = [
        f"{plain(analysis).capitalize()} failed {count(times, 'time')}: {reason}"
        for reason, times in reasons.most_common(_MOST_REASONS)
    ]
    more = len(reasons) - len(told)
    return [
        *told,
        *([f"{count(more, 'further reason')}: the ledger below has them."] if more else []),
    ]


def of_which(records: Records) -> str:
    """A sentence that says whose matrices are shown, where the run holds other checkpoints too."""
    if len(records.located) < 2:
        return ""
    others = count(len(records.located) - 1, "other checkpoint")
    return f" Shown is {records.shown_label}; the run holds {others} as well."


def in_page(rows: list[Row], budget: int) -> frozenset[str] | None:
    """Indices of the matrices whose curves a page holds; None where their ranks are within the budget.

    Layers take turns, each giving the matrix whose vectors deviate most among those it has left.
    """
    if sum(len(row["singular_values"]) for row in rows) <= budget:
        return None
    turns: dict[int | None, int] = defaultdict(int)
    in_turn = []
    strongest = sorted(range(len(rows)), key=lambda i: -strength(rows[i]))
    for place, index in enumerate(strongest):
        layer = rows[index]["layer"]
        turns[layer] += 1
        in_turn.append((turns[layer], place, index))
    kept: set[str] = set()
    for *_, index in sorted(in_turn):
        budget -= len(rows[index]["singular_values"])
        if budget < 0 and kept:
            break
        kept.add(str(index))
    return frozenset(kept)


def first_shown(rows: list[Row], kept: frozenset[str] | None) -> int:
    """The matrix that a page opens with: of those with overlaps, if any, the one that deviates most."""
    held = [index for index in range(len(rows)) if kept is None or str(index) in kept]
    return max(held, key=lambda index: (rows[index]["overlaps"] is not None, strength(rows[index])))


def strength(row: Row) -> float:
    """Mean deviation of the matrix's singular vectors on both sides, below all where they were not tested."""
    mean = float(row["deviation_right"].mean() + row["deviation_left"].mean()) / 2
    return mean if math.isfinite(mean) else -math.inf


def steps(records: Records, analysis: str) -> dict[int, list[Row]]:
    """Training step -> rows of its checkpoint; empty below two steps."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in records.rows(analysis):
        if row["step"] is not None:
            found[row["step"]].append(row)
    return {step: found[step] for step in sorted(found)} if len(found) > 1 else {}


def _with_ranges(texts: list[str]) -> str:
    """The texts as one: they differ in their numbers only, of which it has the range."""
    numbers = zip(*([found.group() for found in _NUMBER.finditer(text)] for text in texts), strict=True)
    ranges = (_range(list(dict.fromkeys(same))) for same in numbers)
    return _NUMBER.sub(lambda _: next(ranges), texts[0])


def _range(numbers: list[str]) -> str:
    low, high = min(numbers, key=float), max(numbers, key=float)
    return low if low == high else f"{low} to {high}"


def _of(some: int, all_of_them: int) -> str:
    whole = count(all_of_them, "matrix", "matrices")
    if some == all_of_them:
        return f"All {whole}" if some > 1 else f"{whole[0].upper()}{whole[1:]}"
    return f"{number(some)} of {whole}"
