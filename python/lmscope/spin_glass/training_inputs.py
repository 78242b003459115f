"""What each kind of attention reads of tasks, as tensors, and what it tells, as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmscope.spin_glass.attention import Attention, Bilinear, FullLinear
from lmscope.spin_glass.memory import check_memory
from lmscope.spin_glass.own_tasks import prompts_of, statistics_of
from lmscope.spin_glass.task_law import Normalization, Prompts, Statistics, Tasks

__all__ = ["inputs_of_tasks", "predictions", "weights_of"]

Floats = npt.NDArray[np.float64]


def inputs_of_tasks(
    name: str, tasks: Tasks | Prompts | Statistics, module: Attention, normalization: Normalization
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Of all tasks, one row each, and their targets; ``normalization`` of arrays.

    Raises:
        ValueError: they do not fit in memory, or are drawn as statistics where the module reads prompts.
        TypeError: they are statistics where it does.
    """
    number = tasks.tasks if isinstance(tasks, Tasks) else len(tasks)
    parameter = next(module.parameters())
    blocks: Iterator[Prompts | Statistics]
    if isinstance(module, Bilinear):
        blocks = statistics_of(tasks, normalization)
    else:
        blocks = prompts_of(name, tasks, "this model")
    sizes = _row_shapes(tasks, module)
    if parameter.device.type == "cpu":
        numbers = number * sum(map(math.prod, sizes))
        way_out = "take fewer tasks, or merged, separate or multi-head attention on all of them at once"
        check_memory("what training reads of the tasks", numbers * parameter.element_size(), way_out)
    filled = [parameter.new_empty((number, *shape), requires_grad=False) for shape in sizes]
    start = 0
    for some in blocks:
        read = (*_read(some, module, normalization), some.target)
        for into, array in zip(filled, read, strict=True):
            into[start : start + len(some)] = torch.from_numpy(array)
        start += len(some)
    *inputs, target = filled
    return tuple(inputs), target


def predictions(module: Attention, prompts: Prompts, normalization: Normalization) -> Floats:
    """Labels of the queries, (tasks,)."""
    parameter = next(module.parameters())
    inputs = [
        torch.from_numpy(one).to(parameter.device, parameter.dtype)
        for one in _read(prompts, module, normalization)
    ]
    size = module.tasks_at_once(prompts.prompt_length + 1)
    with torch.no_grad():
        found = [
            module(*(one[start : start + size] for one in inputs)) for start in range(0, len(prompts), size)
        ]
    labels: Floats = torch.cat(found).double().cpu().numpy()
    return labels


def weights_of(module: Attention) -> Floats:
    """W of linear attention without values, in float64."""
    assert isinstance(module, Bilinear)
    weights: Floats = module.weights().detach().double().cpu().numpy().copy()
    return weights


def _row_shapes(tasks: Tasks | Prompts | Statistics, module: Attention) -> list[tuple[int, ...]]:
    """Of what a task gives, its target at the end."""
    dimension = tasks.dimension
    if isinstance(module, Bilinear):
        return [(dimension + 1,), (dimension,), ()]
    if isinstance(module, FullLinear):
        return [(dimension + 1, dimension + 1), (dimension,), ()]
    assert not isinstance(tasks, Statistics)
    return [(tasks.prompt_length + 1, dimension + 1), ()]


def _read(some: Prompts | Statistics, module: Attention, normalization: Normalization) -> tuple[Floats, ...]:
    """Rows of what ``module`` takes."""
    if isinstance(some, Statistics):
        return some.context, some.query
    columns = np.zeros((len(some), some.prompt_length + 1, some.dimension + 1))
    columns[:, :-1, :-1] = some.tokens
    columns[:, :-1, -1] = some.labels
    columns[:, -1, :-1] = some.query
    if isinstance(module, FullLinear):
        moments = np.matmul(columns.transpose(0, 2, 1), columns)
        moments /= some.prompt_length + (normalization == "columns")
        return moments, some.query
    return (columns,)
