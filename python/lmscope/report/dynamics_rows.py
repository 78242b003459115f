"""When in a training things happen: steps at which quantities have made most of their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmscope.analyses.training_dynamics import reached, steps_apart
from lmscope.report.records import Row
from lmscope.report.words import count, number

SHARE = 0.9


@dataclass(frozen=True)
class Quantity:
    """One column over the steps; ``nearness`` counts down to 0 at the last step by its definition."""

    label: str
    short: str
    axis: str


QUANTITIES = {
    "frequency_adjusted_r2": Quantity(
        "Frequency in the embedding: adjusted R²", "R² of frequency", "adjusted R²"
    ),
    "probability_adjusted_r2": Quantity(
        "Probability in the embedding: adjusted R²", "R² of probability", "adjusted R²"
    ),
    "loss": Quantity("Loss", "loss", "loss (nats per token)"),
    "head_distance": Quantity(
        "Distance to the last output embedding", "output embedding", "|E - E last| / |E last|"
    ),
    "parameter_distance": Quantity("Distance to the last parameters", "all parameters", "relative distance"),
    "cosine": Quantity("Cosine of the slope with minus the mean state", "cosine", "cosine"),
    "frequency_r2": Quantity("Frequency in the embedding: R²", "R² of frequency", "R²"),
    "probability_r2": Quantity("Probability in the embedding: R²", "R² of probability", "R²"),
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


def at_share(points: list[tuple[int, float]]) -> float | None:
    """The step of `SHARE` of the way; None where there is no way."""
    if len(points) < 2:
        return None
    return reached([step for step, _ in points], [value for _, value in points], SHARE)


def step_words(step: float) -> str:
    """An interpolated step, to no more digits than it has."""
    return number(round(step)) if step >= 10 else f"{step:.1f}"


def dynamics_sentences(trainings: Mapping[str, list[Row]]) -> list[str]:
    """When frequency is encoded and when the loss has fallen, by training and over trainings."""
    told, pairs = [], []
    for name, rows in trainings.items():
        steps = [at_share(curve(rows, column)) for column in ("frequency_adjusted_r2", "loss")]
        if steps[0] is None or steps[1] is None:
            continue
        pairs.append((steps[0], steps[1]))
        told.append(
            f"{name}: 90 % of the final adjusted R² of frequency by step {step_words(steps[0])}, 90 % of the "
            f"drop of the loss by step {step_words(steps[1])}."
        )
    return [*told, _apart(pairs)] if pairs else told


def _apart(pairs: list[tuple[float, float]]) -> str:
    apart = steps_apart([first for first, _ in pairs], [second for _, second in pairs])
    way = "later" if apart.doublings >= 0 else "earlier"
    mean = (
        f"The loss comes {number(abs(apart.doublings), 2)} doublings of the steps {way}"
        f"{' on average' if len(pairs) > 1 else ''}"
    )
    if len(pairs) < 2:
        return f"{mean}; one training: another seed may order them otherwise."
    verdict = (
        "which is not told apart from no difference"
        if apart.low <= 0 <= apart.high
        else "the same order in the interval"
    )
    return (
        f"{mean} (95 % {number(apart.low, 2)} to {number(apart.high, 2)} over "
        f"{count(apart.trainings, 'training')}), {verdict}. Steps between checkpoints are interpolated: no "
        "difference below their spacing is known."
    )
