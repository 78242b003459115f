"""Mean squared error of a model over tasks, and its gradient, as much of it at a time as memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lmscope.spin_glass.attention import Attention, Bilinear
from lmscope.spin_glass.couplings import Fields

__all__ = ["QuadraticForm", "Samples", "TrainingLoss"]


class TrainingLoss(Protocol):
    def batches(self) -> Iterator[Tensor | None]:
        """One epoch."""
        ...

    def backward(self, module: Attention, batch: Tensor | None) -> float:
        """Mean squared error over a batch; adds its gradient to that of the parameters."""
        ...

    def loss(self, module: Attention) -> float:
        """Mean squared error over all tasks."""
        ...


class QuadraticForm:
    """Of linear attention on all tasks at once: couplings and fields say everything."""

    def __init__(self, fields: Fields, device: torch.device, dtype: torch.dtype) -> None:
        self._fields = fields
        self._gram = torch.from_numpy(fields.gram).to(device, dtype)
        self._field = torch.from_numpy(fields.field).to(device, dtype)

    def batches(self) -> Iterator[None]:
        yield None

    def backward(self, module: Attention, batch: Tensor | None) -> float:
        assert isinstance(module, Bilinear)
        spins = module.weights()[:, :-1].reshape(-1)
        with torch.no_grad():
            force = torch.addmv(self._field, self._gram, spins, beta=-1.0)
            loss = self._fields.target_power + float(torch.dot(spins, force - self._field))
        torch.autograd.backward(spins, 2 * force)
        return loss

    def loss(self, module: Attention) -> float:
        """In float64."""
        assert isinstance(module, Bilinear)
        spins = module.weights()[:, :-1].reshape(-1).detach().double().cpu().numpy()
        loss = self._fields.target_power + spins @ (self._fields.gram @ spins - 2 * self._fields.field)
        return max(float(loss), 0.0) if np.isfinite(loss) else float(loss)


class Samples:
    """Of any model, on inputs with one row a task; ``batch``: tasks of one step, in an order drawn anew for
    every epoch."""

    def __init__(
        self,
        inputs: tuple[Tensor, ...],
        target: Tensor,
        *,
        columns: int,
        batch: int | None = None,
        random: np.random.Generator | None = None,
    ) -> None:
        self._inputs = inputs
        self._target = target
        self._columns = columns
        self._batch = batch
        self._random = random

    def batches(self) -> Iterator[Tensor | None]:
        if self._batch is None:
            yield None
            return
        assert self._random is not None
        order = torch.from_numpy(self._random.permutation(len(self._target))).to(self._target.device)
        for start in range(0, len(order), self._batch):
            yield order[start : start + self._batch]

    def backward(self, module: Attention, batch: Tensor | None) -> float:
        tasks = len(self._target) if batch is None else len(batch)
        total = 0.0
        for inputs, target in self._parts(module, batch):
            loss = (module(*inputs) - target).square().sum() / tasks
            torch.autograd.backward(loss)
            total += float(loss.detach())
        return total

    @torch.no_grad()
    def loss(self, module: Attention) -> float:
        """Summed in float64."""
        total = sum(
            float((module(*inputs) - target).double().square().sum())
            for inputs, target in self._parts(module, None)
        )
        return total / len(self._target)

    def _parts(self, module: Attention, batch: Tensor | None) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        size = module.tasks_at_once(self._columns)
        tasks = len(self._target) if batch is None else len(batch)
        for start in range(0, tasks, size):
            rows = slice(start, start + size) if batch is None else batch[start : start + size]
            yield tuple(one[rows] for one in self._inputs), self._target[rows]
