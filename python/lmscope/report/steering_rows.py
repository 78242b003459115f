"""Steering of many tokens put together: what came out of each factor that was asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lmscope.report.records import Row
from lmscope.report.words import number, plain

TEXTS = {"fit": "fitting text", "held_out": "held-out text of the same kind", "other": "other text"}
CALIBRATION = {"yes": "calibrated on the fitting text", "no": "by the fit alone"}
CONTROLS = {"wrong_sign": "wrong sign", "random_direction": "random direction"}
_Steered = TypeVar("_Steered", bound=Mapping[str, Any])
_NEAR = math.log(2.0) + 1e-9


@dataclass(frozen=True)
class Quartiles:
    low: float
    middle: float
    high: float
    tokens: int


def quartiles(values: list[float]) -> Quartiles | None:
    """None of no values."""
    if not values:
        return None
    low, middle, high = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return Quartiles(low, middle, high, len(values))


def alone(rows: Iterable[_Steered]) -> list[_Steered]:
    """Tokens that were each steered in an edit of their own."""
    return [row for row in rows if not row["together"]]


def together_sentences(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the joint edit of several tokens does to each of them on every text."""
    by_token: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["together"]:
            by_token.setdefault(row["token"], []).append(row)
    if not by_token:
        return []
    one = next(iter(by_token.values()))[0]
    how = f"{plain(one['allocation'])}, {'calibrated' if one['calibrated'] else 'not calibrated'}"
    told = [
        f"{own[0]['token_text']!r} ({token}), asked {number(own[0]['factor'])} times: "
        + ", ".join(f"{number(row['realised'])}{_interval(row)} on {TEXTS[row['text']]}" for row in own)
        for token, own in by_token.items()
    ]
    return [f"The saved edit, all its tokens together ({how}), realises: {'; '.join(told)}."]


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["realised_low"], row["realised_high"]
    return "" if low is None or high is None else f" (95 % {number(low)} to {number(high)})"


def chosen(rows: list[Row], allocation: str, calibration: str, text: str) -> list[Row]:
    """Rows without a control of one switch position."""
    wanted = allocation, calibration == "yes", text, ""
    return [
        row for row in rows if (row["allocation"], row["calibrated"], row["text"], row["control"]) == wanted
    ]


def control(rows: list[Row], name: str, allocation: str, calibration: str, text: str) -> list[Row]:
    """Rows of a control with the same allocation and text; calibrated as asked, where there are such."""
    same = [
        row for row in rows if (row["allocation"], row["text"], row["control"]) == (allocation, text, name)
    ]
    exact = [row for row in same if row["calibrated"] == (calibration == "yes")]
    return exact or same


def by_factor(rows: list[Row]) -> dict[float, list[Row]]:
    """Factor -> rows that were measured, factors ascending."""
    return {
        factor: [row for row in rows if row["factor"] == factor and row["realised"] is not None]
        for factor in sorted({row["factor"] for row in rows})
    }


def errors(rows: list[Row]) -> tuple[float | None, float | None]:
    """Median |log realised - log factor| of factors from 1/2 to 2, and of those beyond."""
    sizes: tuple[list[float], list[float]] = ([], [])
    for row in rows:
        if row["log_error"] is not None:
            sizes[abs(math.log(row["factor"])) > _NEAR].append(abs(row["log_error"]))
    near, far = (float(np.median(some)) if some else None for some in sizes)
    return near, far


def unreached(rows: list[Row]) -> list[str]:
    """Why factors could not be asked, the most frequent reasons first."""
    return [reason for reason, _ in Counter(row["reason"] for row in rows if row["reason"]).most_common()]


def factor_words(factor: float) -> str:
    """1/20 and 20 rather than 0.05 and 20, where that is exact."""
    inverse = 1.0 / factor
    return f"1/{inverse:.0f}" if factor < 1 and abs(inverse - round(inverse)) < 1e-6 else f"{factor:.4g}"
