"""What each kind of attention reads of tasks, as tensors, and what it tells, as arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmscope.spin_glass.attention import Attention, Bilinear, FullLinear
from lmscope.spin_glass.task_law import Normalization, Prompts, Tasks

__all__ = ["inputs_of_tasks", "predictions", "weights_of"]

Floats = npt.NDArray[np.float64]


def inputs_of_tasks(tasks: Tasks, module: Attention) -> tuple[tuple[Tensor, ...], Tensor]:
    """Of all tasks, one row each, and their targets."""
    some: list[tuple[Floats, ...]]
    if isinstance(module, Bilinear):
        some = [(part.context, part.query, part.target) for part in tasks.statistics()]
    else:
        some = [(*_read(part, module, tasks.normalization), part.target) for part in tasks.prompts()]
    *inputs, target = (_tensor(np.concatenate(parts), module) for parts in zip(*some, strict=True))
    return tuple(inputs), target


def predictions(module: Attention, prompts: Prompts, normalization: Normalization) -> Floats:
    """Labels of the queries, (tasks,)."""
    with torch.no_grad():
        inputs = (_tensor(one, module) for one in _read(prompts, module, normalization))
        found: Floats = module(*inputs).double().cpu().numpy()
    return found


def weights_of(module: Attention) -> Floats:
    """W of linear attention without values, in float64."""
    assert isinstance(module, Bilinear)
    weights: Floats = module.weights().detach().double().cpu().numpy().copy()
    return weights


def _read(prompts: Prompts, module: Attention, normalization: Normalization) -> tuple[Floats, ...]:
    if isinstance(module, Bilinear):
        statistics = prompts.statistics(normalization)
        return statistics.context, statistics.query
    tasks, length, dimension = prompts.tokens.shape
    columns = np.zeros((tasks, length + 1, dimension + 1))
    columns[:, :-1, :-1] = prompts.tokens
    columns[:, :-1, -1] = prompts.labels
    columns[:, -1, :-1] = prompts.query
    if isinstance(module, FullLinear):
        moments = np.matmul(columns.transpose(0, 2, 1), columns)
        moments /= length + (normalization == "columns")
        return moments, prompts.query
    return (columns,)


def _tensor(array: Floats, module: Attention) -> Tensor:
    parameter = next(module.parameters())
    return torch.from_numpy(array).to(parameter.device, parameter.dtype)
