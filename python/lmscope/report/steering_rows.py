"""Steering of many tokens put together: what came out of each factor that was asked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from lmscope.report.records import Row

TEXTS = {"fit": "fitting text", "held_out": "held-out text of the same kind", "other": "other text"}
CALIBRATION = {"yes": "calibrated on the fitting text", "no": "by the fit alone"}
CONTROLS = {"wrong_sign": "wrong sign", "random_direction": "random direction"}
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
