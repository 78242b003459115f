"""Kinds of attention, trained on the same tasks and held against the exact ground state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmscope.spin_glass.couplings import fields
from lmscope.spin_glass.experiments.cost import training_seconds
from lmscope.spin_glass.experiments.growth import second_part
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.losses import contrast_ratio, test_loss
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.population import population
from lmscope.spin_glass.ridge import ground_state
from lmscope.spin_glass.task_law import make_tasks
from lmscope.spin_glass.training import train

__all__ = ["CELLS", "MODELS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "linear attention in several forms, softmax attention and a transformer, trained on the same tasks"

MODELS = ("ground_state", "merged", "separate", "multi_head", "full", "softmax", "transformer")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "dimensions": [6],
        "prompt_lengths": [30],
        "tasks": [600],
        "models": list(MODELS),
        "weight_decay": 0.01,
        "learning_rate": 0.01,
        "epochs": 1000,
        "prompt_epochs": 30,
        "batch": 60,
        "heads": 2,
        "layers": 1,
        "width": 16,
        "test_tasks": 1000,
        "points": 5,
        "seeds": 3,
    },
    "minutes": {
        "dimensions": [10],
        "prompt_lengths": [50],
        "tasks": [60, 110, 220, 440],
        "models": list(MODELS),
        "weight_decay": 0.0,
        "learning_rate": 0.01,
        "epochs": 3000,
        "prompt_epochs": 100,
        "batch": 60,
        "heads": 4,
        "layers": 2,
        "width": 32,
        "test_tasks": 5000,
        "points": 10,
        "seeds": 3,
    },
    "paper": {
        "dimensions": [20],
        "prompt_lengths": [100],
        "tasks": [20 * step for step in range(1, 46)],
        "models": list(MODELS),
        "weight_decay": 0.0,
        "learning_rate": 0.01,
        "epochs": 3000,
        "prompt_epochs": 300,
        "batch": 60,
        "heads": 4,
        "layers": 2,
        "width": 64,
        "test_tasks": 10000,
        "points": 30,
        "seeds": 50,
    },
}
"""``epochs`` are full-batch steps of linear attention; softmax attention and the transformer, a thousand
times as costly, make ``prompt_epochs`` passes over batches."""

_BILINEAR = ("merged", "separate", "multi_head")
_PROMPT = ("softmax", "transformer")

CELLS = ("dimensions", "prompt_lengths", "tasks", "models")
TRAINS = True

_COPIES = 6
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    if settings["width"] % settings["heads"]:
        raise ValueError(f"width must be a multiple of heads, {settings['heads']}, got {settings['width']}")
    check_memory(
        f"tasks: {max(settings['tasks'])} prompts",
        _prompt_bytes(
            max(settings["dimensions"]),
            max(settings["prompt_lengths"]),
            max(settings["tasks"]) + settings["test_tasks"],
        ),
        "take fewer or shorter ones",
    )
    if unknown := set(settings["models"]) - set(MODELS):
        raise ValueError(f"models must be of {', '.join(MODELS)}, got {', '.join(sorted(unknown))}")


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    if cell["model"] == "ground_state":
        return 0.05
    sizes = (cell["dimension"], cell["model"], cell["tasks"], cell["prompt_length"])
    return training_seconds({**settings, "epochs": _epochs(settings, cell["model"])}, *sizes)


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES) + _prompt_bytes(
        cell["dimension"], cell["prompt_length"], cell["tasks"] + settings["test_tasks"]
    )


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    model = cell["model"]
    sizes = {name: cell[name] for name in ("dimension", "prompt_length", "tasks", "seed")}
    tasks = make_tasks(**sizes)
    fresh = tasks.unseen(settings["test_tasks"])
    form = fields(tasks)
    ground = ground_state(form, regularization=settings["weight_decay"] / 2)
    limit = population(tasks)
    row = {
        **{name: cell[name] for name in ("dimension", "prompt_length", "tasks", "model")},
        "parameters": 0,
        "epochs": 0,
        "loss": limit.loss(ground.weights),
        "loss_low": None,
        "loss_high": None,
        "training_loss": ground.training_loss,
        "steps": [],
        "losses": [],
        "test_losses": [],
        "contrast": contrast_ratio(ground.weights),
        "ground_loss": limit.loss(ground.weights),
        "reason": "",
    }
    if model == "ground_state":
        return [row]
    epochs = _epochs(settings, model)
    trained = train(
        tasks,
        model=model,
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        epochs=epochs,
        batch=min(settings["batch"], tasks.tasks) if model in _PROMPT else None,
        heads=settings["heads"],
        layers=settings["layers"],
        width=settings["width"] if model == "transformer" else None,
        seed=cell["seed"],
        device=device,
        unseen=fresh,
        every=max(1, epochs // settings["points"]),
        fields=form if model in _BILINEAR else None,
        advance=second_part(advance, 0.0),
    )
    row |= {
        "parameters": trained.parameters,
        "epochs": epochs,
        "training_loss": None if trained.diverged else float(trained.losses[-1]),
        "steps": list(map(float, trained.steps)),
        "losses": list(map(float, trained.losses)),
        "test_losses": list(map(float, trained.test_losses)),
        "contrast": None if trained.weights is None else contrast_ratio(trained.weights),
        "loss": None,
        "reason": trained.reason,
    }
    if trained.diverged:
        return [row]
    found = test_loss(trained, fresh)
    return [row | {"loss": found.loss, "loss_low": found.low, "loss_high": found.high}]


def _prompt_bytes(dimension: int, prompt_length: int, tasks: int) -> int:
    """Of prompts that training holds, and of those that it is tested on."""
    return 12 * dimension * (prompt_length + 1) * tasks


def _epochs(settings: Mapping[str, Any], model: str) -> int:
    return int(settings["prompt_epochs"] if model in _PROMPT else settings["epochs"])
