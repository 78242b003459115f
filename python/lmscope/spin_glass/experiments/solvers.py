"""The same tasks solved in several ways: exactly, by message passing, by training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.couplings import fields
from lmscope.spin_glass.experiments.cost import eigen_seconds, training_seconds
from lmscope.spin_glass.experiments.growth import second_part
from lmscope.spin_glass.experiments.judged import judged
from lmscope.spin_glass.message_passing import amp
from lmscope.spin_glass.modes import modes
from lmscope.spin_glass.population import population
from lmscope.spin_glass.task_law import Tasks
from lmscope.spin_glass.training import train

__all__ = ["SOLVER_SETTINGS", "solver_seconds", "solvers"]

SOLVER_SETTINGS: Mapping[str, Any] = {
    "tasks": [10000],
    "regularization": [0.01],
    "inverse_temperature": 100.0,
    "damping": 0.9,
    "max_steps": 1000,
    "weight_decay": 0.01,
    "learning_rate": 1e-3,
    "epochs": 5000,
}
"""Those of arXiv 2408.02288, Fig. 4b; message passing may take longer than its hundred steps."""


def solver_seconds(settings: Mapping[str, Any], dimension: int, tasks: int) -> float:
    spins = dimension * (dimension + 1)
    training = training_seconds(settings, dimension)
    drawing = 2 * tasks * (2e-6 + 2e-11 * spins**2)
    return drawing + training + 10 * eigen_seconds(dimension)


def solvers(
    tasks: Tasks, settings: Mapping[str, Any], *, device: str, advance: Callable[[float], None]
) -> list[dict[str, Any]]:
    """One row per solver (and regularization) for the given tasks; ground states also at the
    regularization that Adam's weight decay amounts to, half of it."""
    limit = population(tasks)
    form = fields(tasks)
    spectrum = modes(form)
    found: list[dict[str, Any]] = []

    def add(solver: str, regularization: float, weights: Any, converged: bool | None, **more: Any) -> None:
        row = {
            "solver": solver,
            "regularization": regularization,
            "weight_decay": None,
            "loss": None,
            "loss_low": None,
            "loss_high": None,
            "contrast": None,
            "diagonal": None,
            "converged": converged,
            "reason": "",
        }
        found.append(row | ({} if weights is None else judged(weights, limit)) | more)

    add("population", 0.0, limit.ground_state(0.0), None)
    decay = settings["weight_decay"]
    for regularization in sorted({*settings["regularization"], decay / 2}):
        add("ground_state", regularization, spectrum.ground_state(regularization), None)
    for regularization in settings["regularization"]:
        for onsager in (True, False):
            solved = amp(
                form,
                regularization=regularization,
                inverse_temperature=settings["inverse_temperature"],
                onsager=onsager,
                damping=settings["damping"],
                max_steps=settings["max_steps"],
                seed=tasks.seed,
            )
            add(
                "amp" if onsager else "amp_without_onsager",
                regularization,
                solved.mean if solved.converged else None,
                solved.converged,
                reason=solved.reason,
            )
    advance(0.2)
    trained = train(
        tasks,
        model="merged",
        learning_rate=settings["learning_rate"],
        weight_decay=decay,
        epochs=settings["epochs"],
        seed=tasks.seed,
        device=device,
        fields=form,
        advance=second_part(advance, 0.2),
    )
    add(
        "adam",
        decay / 2,
        trained.weights,
        trained.converged,
        weight_decay=decay,
        reason=trained.reason,
    )
    return found
