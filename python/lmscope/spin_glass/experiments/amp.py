"""Message passing with and without the Onsager term against the exact ground state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lmscope.spin_glass.experiments.cost import eigen_seconds
from lmscope.spin_glass.experiments.growth import growing_fields
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.message_passing import amp
from lmscope.spin_glass.modes import modes
from lmscope.spin_glass.population import population
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "message passing with and without the Onsager term: error, and where it diverges"

_COMMON = {
    "tasks": None,
    "regularization": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
    "inverse_temperature": 100.0,
    "damping": 0.9,
    "max_steps": 1000,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {"dimensions": [6], "prompt_lengths": [100], "seeds": 3, **_COMMON},
    "minutes": {"dimensions": [10], "prompt_lengths": [20, 100], "seeds": 5, **_COMMON},
    "paper": {"dimensions": [10, 20], "prompt_lengths": [20, 100], "seeds": 10, **_COMMON},
}
CELLS = ("dimensions", "prompt_lengths")
TRAINS = False

_COPIES = 8
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    if 0 in settings["regularization"]:
        raise ValueError("regularization must be positive here, got 0: free spins would have no variance")


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    spins = cell["dimension"] * (cell["dimension"] + 1)
    runs = 2 * len(_counts(settings, cell["dimension"])) * len(settings["regularization"])
    # Most runs end by themselves after some two hundred sweeps of two matrix-vector products.
    return runs * 200 * (3e-5 + 1e-9 * float(spins) ** 2) + runs * eigen_seconds(cell["dimension"]) / 10


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
    for done, fields in enumerate(growing_fields(tasks, counts), 1):
        spectrum = modes(fields)
        for regularization in settings["regularization"]:
            law = {"regularization": regularization, "inverse_temperature": settings["inverse_temperature"]}
            exact = spectrum.ground_state(regularization)
            variance = spectrum.variances(**law)
            for onsager in (True, False):
                solved = amp(
                    fields,
                    onsager=onsager,
                    damping=settings["damping"],
                    max_steps=settings["max_steps"],
                    seed=cell["seed"],
                    **law,
                )
                row = {
                    "dimension": cell["dimension"],
                    "prompt_length": cell["prompt_length"],
                    "tasks": fields.tasks,
                    **law,
                    "onsager": onsager,
                    "converged": solved.converged,
                    "diverged": solved.diverged,
                    "steps": solved.steps,
                    "mean_error": None,
                    "variance_error": None,
                    "loss": None,
                    "ridge_loss": limit.loss(exact),
                    "changes": solved.changes.tolist(),
                    "reason": solved.reason,
                }
                if solved.converged:
                    row |= {
                        "mean_error": float(np.abs(solved.mean - exact).max()),
                        "variance_error": float(np.abs(solved.variance / variance - 1).max()),
                        "loss": limit.loss(solved.mean),
                    }
                found.append(row)
        advance(done / len(counts))
    return found


def _counts(settings: Mapping[str, Any], dimension: int) -> list[int]:
    """From half of what makes the ground state unique, doubling."""
    spins = dimension * (dimension + 1)
    return sorted(settings["tasks"] or [spins * 2**power // 2 for power in range(9)])
