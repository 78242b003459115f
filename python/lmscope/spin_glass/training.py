"""Attention trained by gradient descent on tasks of linear regression in context."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from lmscope.analyses.intake import not_negative, positive, whole
from lmscope.html_repr import block, facts, line, number
from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.couplings import fields as fields_of
from lmscope.spin_glass.losses import predict
from lmscope.spin_glass.own_tasks import checked, checked_arrays, prompts_of, statistics_of
from lmscope.spin_glass.population import population
from lmscope.spin_glass.streams import Stream, generator
from lmscope.spin_glass.task_law import Normalization, Prompts, Statistics, Tasks
from lmscope.torch_device import torch_device

if TYPE_CHECKING:
    import torch

    from lmscope.spin_glass.attention import Attention
    from lmscope.spin_glass.training_loss import Samples, TrainingLoss

__all__ = ["Training", "train"]

Floats = npt.NDArray[np.float64]
Model = Literal["merged", "separate", "multi_head", "full", "softmax", "transformer"]
_LINEAR = ("merged", "separate", "multi_head")
_WITH_WIDTH = ("multi_head", "transformer")

_TRANSFORMER_WIDTH = 64
_UNSEEN = 1000
_POINTS = 50

# Relative, of sums over any number of tasks that fit in memory.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Training:
    """What :func:`train` gives.

    Attributes:
        model: its kind.
        weights: (dimension + 1) x (dimension + 1) float64: W of linear attention, product or sum where it is
            trained in parts; None of other kinds, and where training diverged.
        steps: epochs after which losses were taken; 0 is before the first.
        losses: mean squared error on the training tasks after them.
        test_losses: the same on unseen tasks; NaN where training had diverged, and all along where there were
            none (tasks of one's own without ``unseen``).
        gradient: norm of the gradient of the objective (loss and weight decay) at the end, over that at the
            start; NaN where training diverged.
        reason: why training ended early; empty where it did not.
        parameters: how many numbers were trained.
        seconds: of training, the reading of tasks included.
        normalization: of the prompts' sums, as the tasks had it; ``"prompt"`` of arrays.
        module: the trained torch module.
    """

    model: Model
    weights: Floats | None
    steps: npt.NDArray[np.int64]
    losses: Floats
    test_losses: Floats
    gradient: float
    reason: str
    parameters: int
    seconds: float
    normalization: Normalization
    module: Attention

    @property
    def diverged(self) -> bool:
        """The loss was no longer finite; ``reason`` names the epoch."""
        return bool(self.reason)

    @property
    def converged(self) -> bool:
        """The gradient fell to a thousandth or less of that at the start. Merged weights that decay are never
        farther from the ground state than the gradient's norm over ``weight_decay``."""
        return self.gradient <= 1e-3

    def predict(self, prompts: Prompts) -> Floats:
        """Labels of the queries, (tasks,) float64.

        Raises:
            ValueError: training diverged, or arrays with other shapes than they should have, NaN or Inf.
            TypeError: anything but prompts, or another dtype.
        """
        (prompts,) = prompts_of("prompts", checked_arrays("prompts", prompts), "predict")
        if self.diverged:
            raise ValueError(f"nothing to predict with: {self.reason}")
        if self.weights is not None:
            return predict(self.weights, prompts.statistics(self.normalization))
        from lmscope.spin_glass.training_inputs import predictions

        return predictions(self.module, prompts, self.normalization)

    @property
    def _tested(self) -> bool:
        return not np.isnan(self.test_losses).all()

    def __repr__(self) -> str:
        unseen = f"unseen tasks {self.test_losses[-1]:.4g}" if self._tested else "no unseen tasks"
        told = self.reason or f"loss {self.losses[-1]:.4g}, {unseen}"
        return f"Training({self.model}, {self.parameters} parameters, {self.steps[-1]} epochs: {told})"

    def _repr_html_(self) -> str:
        rows = [
            ("parameters", self.parameters),
            ("epochs", self.steps[-1]),
            ("loss on the training tasks", number(self.losses[-1])),
            ("loss on unseen tasks", number(self.test_losses[-1]) if self._tested else "none were given"),
            ("gradient, against the start", number(self.gradient)),
            ("seconds", number(self.seconds)),
        ]
        return block(f"Trained attention: {self.model}", facts(rows), *([line(self.reason)] * self.diverged))


def train(
    tasks: Tasks | Prompts | Statistics,
    *,
    model: Model = "merged",
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    epochs: int = 300,
    batch: int | None = None,
    heads: int = 4,
    layers: int = 2,
    width: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    unseen: Tasks | Prompts | Statistics | None = None,
    every: int | None = None,
    fields: Fields | None = None,
    advance: Callable[[float], object] | None = None,
) -> Training:
    """Minimise the mean squared error of the query's label by Adam.

    The same seed gives the same bits on one CPU with one number of threads; torch's own random state is
    neither read nor changed. Parameters start normal, with variance 1 / (number of inputs): for W,
    1 / (dimension + 1).

    Linear attention without values, trained on all tasks at once, needs their couplings and fields alone: an
    epoch costs the same for any number of tasks, and none of them is held. Otherwise memory holds for each
    task 2 x dimension + 2 numbers (linear, in batches), (dimension + 1)^2 (``"full"``), or its prompt; what
    the model makes of them is held for a few tasks at a time.

    Args:
        tasks: training tasks, a law (:func:`make_tasks`) or arrays. ``"full"``, ``"softmax"`` and
            ``"transformer"`` need prompts: a law with ``draw="prompts"``, or :func:`make_prompts`. Sums over
            prompts of one's own are divided by their length; statistics are taken as they are.
        model: the prompt is a matrix X of columns (token; label), the last one (query; 0); the prediction is
            the last entry of the last column of what the model makes of it. ``"merged"``: linear attention
            X X' W X / N; ``"separate"``: W = Wq' Wk; ``"multi_head"``: W is the sum of that over ``heads``;
            ``"full"``: V X X' Wq' Wk X / N; ``"softmax"``: V X softmax(X' Wk' Wq X / sqrt(dimension + 1));
            ``"transformer"``: columns embedded, ``layers`` of attention and MLP with layer norms before both,
            no positions, a linear read-out.
        learning_rate: of Adam, constant.
        weight_decay: added to the gradient as weight_decay x parameters, not decoupled. On ``"merged"`` the
            minimum is the ground state of regularization weight_decay / 2; on ``"separate"`` and
            ``"multi_head"`` what is added to the loss is weight_decay x nuclear norm of W.
        epochs: passes over all tasks.
        batch: tasks of one step, in an order drawn anew for every epoch; None: all.
        heads: of ``"multi_head"`` and ``"transformer"``.
        layers: of ``"transformer"``.
        width: of ``"multi_head"``, all heads together (``heads`` x (dimension + 1) without it), and of the
            stream of ``"transformer"`` (64 without it); its MLP is four times as wide.
        seed: of the first parameters and of the order of batches.
        device: ``"auto"``: CUDA where torch sees it, else the CPU.
        dtype: ``"float32"`` or ``"float64"``, of parameters and arithmetic.
        unseen: tasks that ``test_losses`` are taken on, of any of the three kinds that the model can read.
            Without them: the exact expectation over tasks of the law with teachers of their own for linear
            attention without values, 1000 such tasks for others; arrays have no law, and no test losses then.
        every: epochs from one point of the losses to the next; a fiftieth of all without it.
        fields: couplings and fields of the same tasks, where they are there already. Refused are those of
            another number of tasks, dimension or (where it is known) prompt length, and beside arrays those
            whose means differ. That they are of a law's very tasks (its seed, teachers, normalization) is not
            checked: that would take as long as making them.
        advance: called with the share of the training that has been done since it was called last.

    Raises:
        ValueError: an unknown model, dtype or device, a device that is not there, a learning rate or a number
            below its range, a batch larger than the number of tasks, heads that do not divide the width, a
            width for a model that has none, fields of other tasks, unseen tasks of another dimension or
            normalization, tasks drawn as statistics for a model that reads prompts, tasks that do not fit in
            memory, or arrays with other shapes than they should have, NaN or Inf.
        TypeError: a number that is not whole where it must be, arrays of another dtype, statistics for a
            model that reads prompts, or tasks of another kind.
    """
    tasks = checked("tasks", tasks)
    _check(
        tasks, model, learning_rate, weight_decay, epochs, batch, heads, layers, seed, dtype, every, fields
    )
    normalization: Normalization = tasks.normalization if isinstance(tasks, Tasks) else "prompt"
    if unseen is not None:
        unseen = checked("unseen", unseen)
        _check_unseen(unseen, model, tasks.dimension, normalization)
    where = torch_device(device)
    import torch

    from lmscope.spin_glass.training_inputs import inputs_of_tasks, weights_of
    from lmscope.spin_glass.training_loop import descend
    from lmscope.spin_glass.training_loss import QuadraticForm, Samples

    start = time.perf_counter()
    module = _module(tasks.dimension + 1, model, heads, layers, width, seed, getattr(torch, dtype)).to(where)

    def samples(name: str, some: Tasks | Prompts | Statistics, batch: int | None) -> Samples:
        order = generator(seed, Stream.BATCHES)
        inputs = inputs_of_tasks(name, some, module, normalization)
        # Linear attention reads its context, however many columns that is of.
        columns = 1 if isinstance(some, Statistics) else some.prompt_length + 1
        return Samples(*inputs, columns=columns, batch=batch, random=order)

    objective: TrainingLoss
    if model in _LINEAR and batch is None:
        objective = QuadraticForm(
            fields if fields is not None else fields_of(tasks), where, getattr(torch, dtype)
        )
    else:
        objective = samples("tasks", tasks, batch)
    unseen_loss: Callable[[Attention], float]
    if unseen is not None:
        unseen_loss = samples("unseen", unseen, None).loss
    elif not isinstance(tasks, Tasks):

        def unseen_loss(module: Attention) -> float:
            return math.nan
    elif model in _LINEAR:
        law = population(tasks)

        def unseen_loss(module: Attention) -> float:
            return law.loss(weights_of(module))
    else:
        unseen_loss = samples("unseen", tasks.unseen(_UNSEEN), None).loss
    descent = descend(
        module,
        objective,
        unseen_loss,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        epochs=epochs,
        every=every if every is not None else max(1, epochs // _POINTS),
        advance=advance,
    )
    return Training(
        model=model,
        weights=weights_of(module) if model in _LINEAR and not descent.reason else None,
        steps=descent.steps,
        losses=descent.losses,
        test_losses=descent.test_losses,
        gradient=descent.gradient,
        reason=descent.reason,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        seconds=time.perf_counter() - start,
        normalization=normalization,
        module=module,
    )


def _check(
    tasks: Tasks | Prompts | Statistics,
    model: str,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    batch: int | None,
    heads: int,
    layers: int,
    seed: int,
    dtype: str,
    every: int | None,
    fields: Fields | None,
) -> None:
    if model not in get_args(Model):
        raise ValueError(f"model must be one of {', '.join(map(repr, get_args(Model)))}, got {model!r}")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    positive("learning_rate", learning_rate)
    not_negative("weight_decay", weight_decay)
    whole("epochs", epochs, 1)
    whole("heads", heads, 1)
    whole("layers", layers, 1)
    whole("seed", seed, 0)
    if every is not None:
        whole("every", every, 1)
    if model not in _LINEAR:
        prompts_of("tasks", tasks, f"model={model!r}")
    number = tasks.tasks if isinstance(tasks, Tasks) else len(tasks)
    if batch is not None and whole("batch", batch, 1) > number:
        raise ValueError(f"batch must be at most the number of tasks, {number}, got {batch}")
    if fields is not None:
        if model not in _LINEAR or batch is not None:
            raise ValueError("fields go with linear attention without values, trained on all tasks at once")
        found = (fields.tasks, fields.dimension)
        if found != (number, tasks.dimension):
            raise ValueError(
                f"fields must be those of the tasks: {number} in {tasks.dimension} dimensions, "
                f"got fields of {found[0]} in {found[1]} dimensions"
            )
        length = None if isinstance(tasks, Statistics) else tasks.prompt_length
        if None not in (length, fields.prompt_length) and length != fields.prompt_length:
            raise ValueError(
                f"fields must be those of the tasks, with prompts of length {length}, "
                f"got fields of prompts of length {fields.prompt_length}"
            )
        if not isinstance(tasks, Tasks):
            _check_numbers(fields, tasks)


def _check_numbers(fields: Fields, tasks: Prompts | Statistics) -> None:
    """By their means, up to rounding; the couplings would take as long as making them."""
    (statistics,) = statistics_of(tasks)
    context, query, target = statistics.context, statistics.query, statistics.target[:, None]
    field = (context.T @ (query * target)).ravel() / len(tasks)
    largest = (abs(context).T @ abs(query * target)).ravel() / len(tasks)
    power = float(np.square(target).mean())
    if not (
        math.isclose(power, fields.target_power, rel_tol=_ROUNDING)
        and (abs(field - fields.field) <= _ROUNDING * largest).all()
    ):
        raise ValueError(
            "fields must be those of the tasks: their means differ from those of the arrays; make them with "
            "fields(tasks), or leave them out"
        )


def _check_unseen(
    unseen: Tasks | Prompts | Statistics, model: str, dimension: int, normalization: Normalization
) -> None:
    if model not in _LINEAR:
        prompts_of("unseen", unseen, f"model={model!r}")
    own = unseen.normalization if isinstance(unseen, Tasks) else normalization
    if (unseen.dimension, own) != (dimension, normalization):
        raise ValueError(
            f"unseen must have the dimension and normalization of the tasks, {dimension} and "
            f"{normalization!r}, got {unseen.dimension} and {own!r}"
        )


def _module(
    size: int, model: Model, heads: int, layers: int, width: int | None, seed: int, dtype: torch.dtype
) -> Attention:
    from lmscope.spin_glass.attention import Factored, FullLinear, Merged, Softmax, Transformer

    random = generator(seed, Stream.FIRST_WEIGHTS)
    sized = _width(model, width, heads, size)
    if model == "merged":
        return Merged(size, random, dtype)
    if model in _LINEAR:
        return Factored(size, sized, random, dtype)
    if model == "full":
        return FullLinear(size, random, dtype)
    if model == "softmax":
        return Softmax(size, random, dtype)
    return Transformer(size, sized, heads, layers, random, dtype)


def _width(model: Model, width: int | None, heads: int, size: int) -> int:
    if model not in _WITH_WIDTH:
        if width is not None:
            raise ValueError(f"width goes with model='multi_head' or 'transformer'; {model!r} has none")
        return size
    if width is None:
        width = heads * size if model == "multi_head" else _TRANSFORMER_WIDTH
    if whole("width", width, 1) % heads:
        raise ValueError(f"width must be a multiple of the number of heads, {heads}, got {width}")
    return width
