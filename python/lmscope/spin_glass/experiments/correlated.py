"""Message passing, training and the exact ground state over the correlation of the tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.experiments.solvers import SOLVER_SETTINGS, solver_seconds, solvers
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "message passing, trained attention and the exact ground state over the tokens' correlation"

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        **SOLVER_SETTINGS,
        "regularization": [0.01, 0.03],
        "dimensions": [8],
        "prompt_lengths": [80],
        "correlations": [0.05, 0.5, 0.95],
        "tasks": [2000],
        "learning_rate": 5e-3,
        "epochs": 1000,
        "seeds": 3,
    },
    "minutes": {
        **SOLVER_SETTINGS,
        "regularization": [0.01, 0.03],
        "dimensions": [20],
        "prompt_lengths": [200],
        "correlations": [0.05, 0.25, 0.5, 0.75, 0.95],
        "seeds": 5,
    },
    "paper": {
        **SOLVER_SETTINGS,
        "regularization": [0.01, 0.03],
        "dimensions": [20],
        "prompt_lengths": [200],
        "correlations": [round(0.05 * step, 2) for step in range(1, 20)],
        "seeds": 20,
    },
}
CELLS = ("dimensions", "prompt_lengths", "tasks", "correlations")
TRAINS = True

_COPIES = 8
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    return solver_seconds(settings, cell["dimension"], cell["tasks"])


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    tasks = make_tasks(draw="statistics", **cell)
    sizes = {name: cell[name] for name in ("dimension", "prompt_length", "tasks", "correlation")}
    return [sizes | row for row in solvers(tasks, settings, device=device, advance=advance)]
