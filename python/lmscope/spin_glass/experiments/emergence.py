"""When tasks leave one ground state only: zero modes and spread of replicas over tasks and prompt length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.boltzmann import sample
from lmscope.spin_glass.experiments.cost import eigen_seconds
from lmscope.spin_glass.experiments.growth import growing_fields
from lmscope.spin_glass.experiments.settings import around_peak, check_settings
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.modes import modes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "uniqueness of the ground state over tasks and prompt length: zero modes and spread of replicas"

# A weak prior: free directions keep its variance, 1 / (beta lambda0) = 1, others lose nearly all of it.
_LAW = {"regularization": [1e-4], "inverse_temperature": 1e4}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "dimensions": [6, 10],
        "prompt_lengths": [5, 100],
        "tasks": None,
        "replicas": 20,
        "seeds": 3,
        **_LAW,
    },
    "minutes": {
        "dimensions": [10, 20],
        "prompt_lengths": [2, 10, 100],
        "tasks": None,
        "replicas": 20,
        "seeds": 10,
        **_LAW,
    },
    "paper": {
        "dimensions": [10, 20, 30, 40],
        "prompt_lengths": [100],
        "tasks": [25, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1250, 1500, 1640, 1750, 2000],
        "replicas": 20,
        "seeds": 10,
        **_LAW,
    },
}
CELLS = ("dimensions", "prompt_lengths")
TRAINS = False

_COPIES = 6
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    if settings["replicas"] < 2:
        raise ValueError("replicas must be at least 2: they are compared with each other, got 1")
    if 0 in settings["regularization"]:
        raise ValueError(
            "regularization must be positive here, got 0: below D(D+1) tasks the weights' law could not be "
            "normalised"
        )


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    repeats = 1 + len(settings["regularization"]) * (0.3 + settings["replicas"] / 100)
    return len(_counts(settings, cell["dimension"])) * float(repeats) * eigen_seconds(cell["dimension"])


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    dimension = cell["dimension"]
    spins, weights = dimension * (dimension + 1), (dimension + 1) ** 2
    counts = _counts(settings, dimension)
    tasks = make_tasks(tasks=counts[-1], draw="statistics", **cell)
    inverse_temperature = settings["inverse_temperature"]
    found = []
    for fields in growing_fields(tasks, counts):
        spectrum = modes(fields)
        for regularization in settings["regularization"]:
            law = {"regularization": regularization, "inverse_temperature": inverse_temperature}
            replicas = sample(fields, draws=settings["replicas"], seed=cell["seed"], modes=spectrum, **law)
            found.append(
                {
                    "dimension": dimension,
                    "prompt_length": cell["prompt_length"],
                    "tasks": fields.tasks,
                    **law,
                    "zero_modes": spectrum.zero_modes,
                    "zero_mode_ratio": spectrum.zero_mode_ratio,
                    "expected_ratio": 1 - min(fields.tasks, spins) / weights,
                    "unique": spectrum.zero_modes == weights - spins,
                    "smallest": spectrum.smallest,
                    "spread": spectrum.spread(**law),
                    "spread_sampled": replicas.spread,
                    "overlap": replicas.overlap,
                    "reason": "",
                }
            )
        advance(fields.tasks / counts[-1])
    return found


def _counts(settings: Mapping[str, Any], dimension: int) -> list[int]:
    return sorted(settings["tasks"] or around_peak(dimension, 0.1))
