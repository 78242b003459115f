"""When in a training things happen: steps at which quantities have come most of their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lmscope.analyses.training_dynamics import Reached, StepsApart, reached, steps_apart
from lmscope.report.records import Row
from lmscope.report.words import count, number

SHARE = 0.9


@dataclass(frozen=True)
class Quantity:
    """One column over the steps; ``of`` says what the share at the stars is of: the way from the first value
    to the last, or the last value."""

    label: str
    short: str
    axis: str
    of: Literal["way", "last"] = "way"


QUANTITIES = {
    "frequency_adjusted_r2": Quantity(
        "Frequency in the embedding: adjusted R²", "R² of frequency", "adjusted R²", "last"
    ),
    "probability_adjusted_r2": Quantity(
        "Probability in the embedding: adjusted R²", "R² of probability", "adjusted R²", "last"
    ),
    "loss": Quantity("Loss", "loss", "loss (nats per token)"),
    "head_distance": Quantity(
        "Distance to the last output embedding", "output embedding", "|E - E last| / |E last|"
    ),
    "parameter_distance": Quantity("Distance to the last parameters", "all parameters", "relative distance"),
    "cosine": Quantity("Cosine of the slope with minus the mean state", "cosine", "cosine"),
    "frequency_r2": Quantity("Frequency in the embedding: R²", "R² of frequency", "R²", "last"),
    "probability_r2": Quantity("Probability in the embedding: R²", "R² of probability", "R²", "last"),
}
COMPARED = (
    "frequency_adjusted_r2",
    "probability_adjusted_r2",
    "loss",
    "head_distance",
    "parameter_distance",
)
"""Those of which the share of the way is drawn together."""


def curve(rows: list[Row], column: str) -> list[tuple[int, float]]:
    """(step, value) where there is one, in the order of steps."""
    return [(row["step"], row[column]) for row in rows if row[column] is not None]


def way(points: list[tuple[int, float]]) -> list[float]:
    """Share of the way from the first value to the last; empty where these are one."""
    if len(points) < 2 or points[0][1] == points[-1][1]:
        return []
    first, last = points[0][1], points[-1][1]
    return [(value - first) / (last - first) for _, value in points]


def at_share(points: list[tuple[int, float]], column: str) -> Reached | None:
    """Where `SHARE` of the way is made, or of the last R²; None where there is neither."""
    if len(points) < 2:
        return None
    steps, values = [step for step, _ in points], [value for _, value in points]
    return reached(steps, values, SHARE, of=QUANTITIES[column].of)


def star_level(found: Reached, points: list[tuple[int, float]]) -> float:
    """Where a star stands: on the line, whose first value may be past the level."""
    return points[0][1] if found.after is None else found.level


def step_words(found: Reached) -> str:
    """The checkpoints around it; in front of the first one nothing is known."""
    if found.after is None:
        return f"at or before the first checkpoint (step {number(found.by)})"
    if found.after == 0:
        return f"at step ≤ {number(found.by)}"
    return f"between steps {number(found.after)} and {number(found.by)}"


def dynamics_sentences(trainings: Mapping[str, list[Row]]) -> list[str]:
    """When frequency is encoded and when the loss has fallen, by training and over trainings."""
    told, pairs = [], []
    for name, rows in trainings.items():
        r2, loss = (at_share(curve(rows, column), column) for column in ("frequency_adjusted_r2", "loss"))
        if r2 is None or loss is None:
            continue
        pairs.append((r2, loss))
        told.append(
            f"{name}: 90 % of the final adjusted R² of frequency {step_words(r2)}, 90 % of the drop of the "
            f"loss {step_words(loss)}."
        )
    if not pairs:
        return told
    return [*told, order_sentence(steps_apart([r2 for r2, _ in pairs], [loss for _, loss in pairs]))]


_ORDERS = {
    "later": "R² of frequency had 90 % of its last value before the loss had 90 % of its drop",
    "earlier": "The loss had 90 % of its drop before R² of frequency had 90 % of its last value",
    "unknown": "Whether R² of frequency had 90 % of its last value before the loss had 90 % of its drop is "
    "not known",
}


def order_sentence(apart: StepsApart) -> str:
    """What is known of the order of R² and loss, the loss being the later one of `apart`."""
    if apart.trainings == 1:
        if apart.order == "unknown":
            why = "no checkpoint lies between the two"
            return f"{_ORDERS['unknown']}: {why}, and it is one training."
        return (
            f"{_ORDERS[apart.order]}, in one training; another seed may order them otherwise "
            f"({_ends(apart.least, apart.most)} doublings of the steps from the one to the other)."
        )
    return (
        f"{_ORDERS[apart.order]}: {number(apart.doublings, 2)} doublings of the steps from R²'s step to the "
        f"loss's, interpolated; 95 % {_ends(apart.low, apart.high)} over "
        f"{count(apart.trainings, 'training')} and every place between the checkpoints."
    )


def _ends(low: float, high: float) -> str:
    return f"{number(low, 2)} to {number(high, 2)}"
