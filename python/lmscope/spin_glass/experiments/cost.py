"""Estimated seconds of what experiments do, on two cores of 2 GHz."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["drawing_seconds", "eigen_seconds", "training_seconds"]


def drawing_seconds(dimension: int, tasks: int) -> float:
    """Statistics of the prompts of so many tasks, and their couplings."""
    spins = dimension * (dimension + 1)
    return tasks * (2e-6 + 1e-10 * float(spins) ** 2)


def eigen_seconds(dimension: int) -> float:
    """Eigenvalues and eigenvectors of one Gram matrix."""
    spins = dimension * (dimension + 1)
    return 1e-3 + 2.5e-10 * float(spins) ** 3


def training_seconds(
    settings: Mapping[str, Any], dimension: int, model: str = "merged", tasks: int = 0, prompt_length: int = 0
) -> float:
    """Of the ``epochs`` of the settings."""
    size = float(dimension + 1)
    columns = tasks * (prompt_length + 1.0)
    epoch = 1e-4 + 2e-10 * size**4
    if model == "full":
        epoch = 3e-4 + 1.5e-8 * tasks * size**2
    elif model == "softmax":
        epoch = 3e-4 + 4e-9 * columns * size
    elif model == "transformer":
        epoch = 1e-3 + settings["layers"] * columns * (1e-7 * settings["width"] + 1e-8 * prompt_length)
    return int(settings["epochs"]) * float(epoch)
