"""The energy landscape of few and of many tasks, in a plane; replicas relaxed to its minimum or minima."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.experiments.cost import eigen_seconds
from lmscope.spin_glass.experiments.growth import growing_fields
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.landscape import energy_landscape
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "energy landscape of few and of many tasks, and where replicas come to rest"

_PAPER = {
    "dimensions": [10],
    "prompt_lengths": [50],
    "tasks": [10, 1000],
    "samples": 1000,
    "replicas": 20,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {**_PAPER, "regularization": [0.0, 0.01], "samples": 300, "seeds": 3},
    "minutes": {**_PAPER, "regularization": [0.0, 0.01], "seeds": 5},
    "paper": {**_PAPER, "regularization": [0.0, 0.01], "seeds": 10},
}
CELLS = ("dimensions", "prompt_lengths")
TRAINS = False

_COPIES = 6
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    largest = max(settings["dimensions"])
    check_memory(
        f"samples: {settings['samples']} weights of dimension {largest}",
        _sample_bytes(settings, largest),
        "take fewer",
    )
    if settings["replicas"] < 2:
        raise ValueError("replicas must be at least 2: they are compared with each other, got 1")


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    return (
        3 * len(settings["tasks"]) * len(settings["regularization"]) * eigen_seconds(cell["dimension"]) + 0.05
    )


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES) + _sample_bytes(settings, cell["dimension"])


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    counts = sorted(settings["tasks"])
    tasks = make_tasks(tasks=counts[-1], draw="statistics", **cell)
    found = []
    for done, fields in enumerate(growing_fields(tasks, counts), 1):
        for regularization in settings["regularization"]:
            shown = energy_landscape(
                fields,
                regularization=regularization,
                samples=settings["samples"],
                replicas=settings["replicas"],
                seed=cell["seed"],
            )
            found.append(
                {
                    "dimension": cell["dimension"],
                    "prompt_length": cell["prompt_length"],
                    "tasks": fields.tasks,
                    "regularization": regularization,
                    "x": shown.points[:, 0].tolist(),
                    "y": shown.points[:, 1].tolist(),
                    "energy": shown.energies.tolist(),
                    "axes_x": shown.grid_x.tolist(),
                    "axes_y": shown.grid_y.tolist(),
                    "grid": shown.grid_energies.ravel().tolist(),
                    "relaxed_x": shown.relaxed[:, 0].tolist(),
                    "relaxed_y": shown.relaxed[:, 1].tolist(),
                    "relaxed_energy": shown.relaxed_energies.tolist(),
                    "relaxed_overlap": shown.relaxed_overlap,
                    "relaxed_distance": shown.relaxed_distance,
                    "zero_modes": shown.zero_modes,
                    "ground_energy": shown.ground_energy,
                    "reason": "",
                }
            )
        advance(done / len(counts))
    return found


def _sample_bytes(settings: Mapping[str, Any], dimension: int) -> int:
    count = settings["samples"] + settings["replicas"]
    return int(3 * 8 * (dimension + 1) ** 2 * count)
