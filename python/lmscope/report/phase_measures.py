"""What the map and the curves of `phase_map` show of a ground state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhaseMeasure:
    """A column of the records; ``logarithmic`` ones are positive and differ by orders of magnitude."""

    name: str
    axis: str
    note: str
    logarithmic: bool = False


PHASE_MEASURES = {
    "loss": PhaseMeasure(
        "Loss on unseen tasks",
        "mean squared error on unseen tasks",
        "Exact mean squared error of the ground state on unseen tasks; the labels' mean square is 1",
        logarithmic=True,
    ),
    "training_loss": PhaseMeasure(
        "Training loss",
        "training loss",
        "Mean squared error of the ground state on its own tasks; arithmetic means, as it may be 0",
    ),
    "contrast": PhaseMeasure(
        "Contrast ratio",
        "contrast ratio",
        "Cosine of the ground state with the identity, at best √(D/(D+1)): how far the weights are those of "
        "one step of gradient descent in context",
    ),
    "diagonal": PhaseMeasure(
        "Mean diagonal weight",
        "mean diagonal weight",
        "Mean of the weights that multiply an entry of a token with the same entry of the query",
    ),
}
