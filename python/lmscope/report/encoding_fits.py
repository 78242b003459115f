"""The fits of one checkpoint beside their controls, as the tables and sentences show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lmscope.report.records import Row
from lmscope.report.words import count, number

TARGETS = {
    "probability": "Log of the mean probability",
    "mean_log": "Mean log-probability",
    "frequency": "Log frequency in the frequency text",
}
SCOPES = {"all": "all tokens", "seen": "next tokens of the fitting text", "unseen": "tokens that are none"}
_OF_FREQUENCY = {"seen": "tokens of the frequency text", "unseen": "tokens that it lacks"}


@dataclass(frozen=True)
class Fit:
    """One target and scope: its row, and the adjusted R² of its controls in words."""

    target: str
    name: str
    row: Row
    shuffled: str
    untrained: str


def fits(rows: list[Row]) -> list[Fit]:
    """In the order of the targets and scopes."""
    found = []
    for target, title in TARGETS.items():
        for scope, name in SCOPES.items():
            some = [row for row in rows if (row["target"], row["scope"]) == (target, scope)]
            for row in (one for one in some if one["control"] == ""):
                told = _OF_FREQUENCY.get(scope, name) if target == "frequency" else name
                found.append(Fit(title, told, row, _range(some, "shuffled"), _range(some, "untrained")))
    return found


def of_control(rows: Iterable[Row], control: str) -> list[float]:
    """Adjusted R² of the draws of a control that could be fitted."""
    return [
        row["adjusted_r2"] for row in rows if row["control"] == control and row["adjusted_r2"] is not None
    ]


def said(found: list[Fit], *, softcap: float | None) -> list[str]:
    """What the numbers are worth, as far as they say it themselves."""
    told = []
    if softcap is None and any(one.row["target"] == "mean_log" for one in found):
        told.append(
            "The mean log-probability of a linear head is a linear function of the row exactly (log-softmax "
            "averages to the mean logit less the mean log normaliser): R² = 1 there is an identity, no "
            "finding."
        )
    unfit = [one for one in found if one.row["ridge"]]
    if unfit:
        told.append(
            f"{count(len(unfit), 'fit')} had nearly dependent coordinates and took a ridge; their "
            "slope is one of many that fit as well."
        )
    return told


def _range(rows: list[Row], control: str) -> str:
    values = of_control(rows, control)
    if not values:
        return "–"
    if len(values) == 1:
        return number(values[0])
    return f"{number(min(values), 2)} to {number(max(values), 2)}"
