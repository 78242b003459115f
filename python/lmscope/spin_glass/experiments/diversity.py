"""Diversity of the teachers: losses on seen and on unseen ones, and the cross-task argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.couplings import fields
from lmscope.spin_glass.cross_task import cross_task
from lmscope.spin_glass.experiments.cost import eigen_seconds, training_seconds
from lmscope.spin_glass.experiments.growth import second_part
from lmscope.spin_glass.experiments.judged import training_loss
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.population import population
from lmscope.spin_glass.ridge import ground_state
from lmscope.spin_glass.task_law import Tasks, make_tasks
from lmscope.spin_glass.training import train

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "losses on seen and unseen teachers over how many there are, dense, sparse or of low rank"

_TRAINING = {"weight_decay": 0.01, "learning_rate": 0.01, "epochs": 2000}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "dimensions": [8],
        "prompt_lengths": [40],
        "tasks": [1000],
        "teachers": ["dense", "sparse", "low_rank"],
        "teacher_size": 2,
        "distinct_teachers": [1, 4, 16, 64, 1000],
        "seeds": 3,
        **_TRAINING,
        "epochs": 500,
    },
    "minutes": {
        "dimensions": [20],
        "prompt_lengths": [100],
        "tasks": [5000],
        "teachers": ["dense", "sparse", "low_rank"],
        "teacher_size": 4,
        "distinct_teachers": [1, 4, 16, 64, 256, 1024, 5000],
        "seeds": 3,
        **_TRAINING,
    },
    "paper": {
        "dimensions": [20],
        "prompt_lengths": [100],
        "tasks": [10000],
        "teachers": ["dense", "sparse", "low_rank"],
        "teacher_size": 4,
        "distinct_teachers": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 10000],
        "seeds": 20,
        **_TRAINING,
    },
}
CELLS = ("dimensions", "prompt_lengths", "tasks", "teachers", "distinct_teachers")
TRAINS = True

_COPIES = 6
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    if unknown := set(settings["teachers"]) - {"dense", "sparse", "low_rank"}:
        raise ValueError(f"teachers must be of dense, sparse, low_rank, got {', '.join(sorted(unknown))}")
    if settings["teacher_size"] > min(settings["dimensions"]):
        raise ValueError(
            f"teacher_size must be at most the dimension, {min(settings['dimensions'])}, "
            f"got {settings['teacher_size']}"
        )


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    tokens = cell["tasks"] * cell["prompt_length"] * cell["dimension"]
    drawing = 1e-3 + 2 * 1.5e-8 * tokens + 2e-9 * tokens * cell["dimension"]
    return (
        float(drawing) + 4 * eigen_seconds(cell["dimension"]) + training_seconds(settings, cell["dimension"])
    )


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    tasks = _tasks(settings, cell)
    limits = {
        "loss_seen": population(tasks, teachers="seen"),
        "loss_unseen": population(tasks),
        "loss_isotropic": population(
            make_tasks(tasks=1, dimension=tasks.dimension, prompt_length=tasks.prompt_length)
        ),
    }
    form = fields(tasks)
    argument = cross_task(tasks)
    advance(0.2)
    trained = train(
        tasks,
        model="merged",
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        epochs=settings["epochs"],
        seed=tasks.seed,
        device=device,
        fields=form,
        advance=second_part(advance, 0.2),
    )
    ground = ground_state(form, regularization=settings["weight_decay"] / 2)
    found = []
    for solver, weights in (("ground_state", ground.weights), ("adam", trained.weights)):
        row = {
            "dimension": tasks.dimension,
            "prompt_length": tasks.prompt_length,
            "tasks": tasks.tasks,
            "distinct_teachers": cell["distinct_teachers"],
            "teacher": tasks.teacher,
            "solver": solver,
            **dict.fromkeys([*limits, "training_loss"]),
            "distance_w11": argument.distance_w11,
            "distance_w21": argument.distance_w21,
            "reason": trained.reason,
        }
        if weights is not None:
            row |= {name: limit.loss(weights) for name, limit in limits.items()}
            row |= {"training_loss": training_loss(form, weights), "reason": ""}
        found.append(row)
    return found


def _tasks(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> Tasks:
    sizes = {name: cell[name] for name in ("dimension", "prompt_length", "tasks", "seed")}
    return make_tasks(
        teacher=cell["teacher"],
        teacher_size=None if cell["teacher"] == "dense" else settings["teacher_size"],
        # As many as tasks: each has its own.
        distinct_teachers=min(cell["distinct_teachers"], cell["tasks"]),
        **sizes,
    )
