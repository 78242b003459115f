"""Loss of the exact ground state over tasks, prompt length and regularization: the interpolation peak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.experiments.cost import eigen_seconds
from lmscope.spin_glass.experiments.growth import growing_fields
from lmscope.spin_glass.experiments.judged import judged, training_loss
from lmscope.spin_glass.experiments.settings import around_peak, check_settings
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.modes import modes
from lmscope.spin_glass.population import population
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "test loss over tasks, prompt length and regularization: the interpolation peak"

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "dimensions": [8],
        "prompt_lengths": [5, 20, 100],
        "tasks": None,
        "regularization": [0.0, 0.01],
        "seeds": 3,
    },
    "minutes": {
        "dimensions": [20],
        "prompt_lengths": [2, 5, 10, 20, 50, 100],
        "tasks": None,
        "regularization": [0.0, 0.01, 1.0],
        "seeds": 10,
    },
    "paper": {
        "dimensions": [20],
        "prompt_lengths": [2 * step for step in range(1, 51)],
        "tasks": [20 * step for step in range(1, 51)],
        "regularization": [0.0, 0.01, 1.0],
        "seeds": 10,
    },
}
CELLS = ("dimensions", "prompt_lengths")
TRAINS = False

_COPIES = 6
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    counts = _counts(settings, cell["dimension"])
    return len(counts) * eigen_seconds(cell["dimension"])


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    counts = _counts(settings, cell["dimension"])
    tasks = make_tasks(tasks=counts[-1], draw="statistics", **cell)
    limit = population(tasks)
    found = []
    for fields in growing_fields(tasks, counts):
        spectrum = modes(fields)
        for regularization in settings["regularization"]:
            weights = spectrum.ground_state(regularization)
            found.append(
                {
                    "dimension": cell["dimension"],
                    "prompt_length": cell["prompt_length"],
                    "tasks": fields.tasks,
                    "regularization": regularization,
                    "training_loss": training_loss(fields, weights),
                    **judged(weights, limit),
                    "best_loss": limit.best_loss,
                    "reason": "",
                }
            )
        advance(fields.tasks / counts[-1])
    return found


def _counts(settings: Mapping[str, Any], dimension: int) -> list[int]:
    return sorted(settings["tasks"] or around_peak(dimension))
