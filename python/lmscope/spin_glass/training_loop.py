"""Adam on the parameters of a model, with its losses on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lmscope.spin_glass.attention import Attention
from lmscope.spin_glass.training_loss import TrainingLoss

__all__ = ["Descent", "descend"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Descent:
    """As :class:`lmscope.spin_glass.Training` says."""

    steps: npt.NDArray[np.int64]
    losses: Floats
    test_losses: Floats
    gradient: float
    reason: str


def descend(
    module: Attention,
    objective: TrainingLoss,
    unseen: Callable[[Attention], float],
    *,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    every: int,
    advance: Callable[[float], object] | None,
) -> Descent:
    """Trains ``module`` in place."""
    # One kernel a step on all parameters: they are small, and calls cost more than arithmetic.
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    first = _gradient_norm(module, objective, weight_decay)
    points = [(0, objective.loss(module), unseen(module))]
    reason = ""
    for epoch in range(1, epochs + 1):
        finite = True
        for batch in objective.batches():
            optimizer.zero_grad(set_to_none=False)
            finite &= math.isfinite(objective.backward(module, batch))
            optimizer.step()
        if epoch % every == 0 or epoch == epochs or not finite:
            loss = objective.loss(module)
            finite &= math.isfinite(loss)
            points.append((epoch, loss, unseen(module) if finite else math.nan))
            if advance is not None:
                advance((epoch - points[-2][0]) / epochs)
        if not finite:
            reason = (
                f"the training loss was no longer finite in epoch {epoch}: a smaller learning_rate may help"
            )
            break
    last = math.nan if reason else _gradient_norm(module, objective, weight_decay) / first
    steps, losses, test_losses = zip(*points, strict=True)
    return Descent(np.array(steps), np.array(losses), np.array(test_losses), last, reason)


def _gradient_norm(module: Attention, objective: TrainingLoss, weight_decay: float) -> float:
    """Of the objective over all tasks at the present parameters."""
    module.zero_grad()
    objective.backward(module, None)
    squares = [
        (parameter.grad + weight_decay * parameter.detach()).double().square().sum()
        for parameter in module.parameters()
        if parameter.grad is not None
    ]
    return math.sqrt(float(torch.stack(squares).sum()))
