"""How well attention answers tasks: predictions, test loss with its interval, contrast of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import of_shape
from lmscope.analyses.intervals import confidence_of, t_interval
from lmscope.spin_glass.own_tasks import checked, checked_arrays, prompts_of, statistics_of
from lmscope.spin_glass.population import square_weights
from lmscope.spin_glass.task_law import Prompts, Statistics, Tasks

__all__ = ["Predictor", "TestLoss", "contrast_ratio", "predict", "test_loss"]

Floats = npt.NDArray[np.float64]


class Predictor(Protocol):
    """Anything that answers prompts."""

    def predict(self, prompts: Prompts, /) -> Any:
        """One label for each task, (tasks,)."""


@dataclass(frozen=True)
class TestLoss:
    """Mean squared error over tasks.

    Attributes:
        loss: the mean.
        low, high: ends of Student's interval for its expectation; NaN for one task. Squared errors have heavy
            tails, so that few tasks hold less than they say: of intervals at 95 %, 79 % of 20 tasks held the
            exact loss, 91 % of 200, 93.5 % of 1000 (dimension 5, prompt length 20).
        tasks: how many.
        confidence: of the interval.
    """

    __test__ = False  # pytest takes such names for its own

    loss: float
    low: float
    high: float
    tasks: int
    confidence: float

    def _repr_html_(self) -> str:
        interval = f"{html_repr.number(self.low)} to {html_repr.number(self.high)}"
        pairs = [
            ("loss", html_repr.number(self.loss)),
            (f"{self.confidence:.0%} interval", interval),
            ("tasks", self.tasks),
        ]
        return html_repr.block("Test loss", html_repr.facts(pairs))


def predict(weights: Any, tasks: Prompts | Statistics) -> Floats:
    """Labels that linear attention gives the queries, (tasks,): context @ weights[:, :-1] @ query.

    Args:
        weights: (dimension + 1) x (dimension + 1), array or torch tensor of float64, float32, float16 or
            bfloat16.
        tasks: prompts (their sums are divided by the prompt length), or statistics.

    Returns:
        float64.

    Raises:
        ValueError: arrays of another shape, or NaN or Inf in one.
        TypeError: another dtype, or tasks of another kind: a law gives its tasks some at a time, by
            :meth:`Tasks.statistics`.
    """
    (statistics,) = statistics_of(checked_arrays("tasks", tasks))
    return _predict(weights, statistics)


def _predict(weights: Any, statistics: Statistics) -> Floats:
    read = square_weights(weights, statistics.dimension)[:, :-1]
    labels: Floats = np.einsum("ij,ij->i", statistics.context @ read, statistics.query)
    return labels


def test_loss(
    predictor: Predictor | npt.ArrayLike,
    tasks: Tasks | Prompts | Statistics,
    *,
    confidence: float = 0.95,  # noqa: PT028
) -> TestLoss:
    """Mean squared error on tasks, with an interval over tasks. :meth:`Population.loss` is exact, where the
    law is known and attention is linear.

    Args:
        predictor: weights of linear attention, (dimension + 1) x (dimension + 1), or anything with a method
            ``predict`` from :class:`Prompts` to labels, (tasks,); arrays or torch tensors of float64,
            float32, float16 or bfloat16.
        tasks: as a rule :meth:`Tasks.unseen` of those that it was trained on, or tasks of one's own that were
            held back: prompts (weights are given their sums divided by the prompt length) or, for weights,
            statistics.
        confidence: of the interval, between 0 and 1.

    Raises:
        ValueError: arrays or predictions of a wrong shape, NaN or Inf in one, a confidence outside (0, 1), or
            tasks drawn as statistics for a predictor that reads prompts.
        TypeError: another dtype, tasks of another kind, or statistics for a predictor that reads prompts.
    """
    confidence_of(confidence)
    tasks = checked("tasks", tasks)
    errors = np.concatenate([np.square(found - target) for found, target in _answers(predictor, tasks)])
    loss, low, high = t_interval(errors, confidence)
    return TestLoss(loss, low, high, len(errors), confidence)


test_loss.__test__ = False  # type: ignore[attr-defined]


def contrast_ratio(weights: Any) -> float:
    """Cosine between weights and the identity, both (dimension + 1) x (dimension + 1): how much of the
    weights passes the context on as it is, from -1 to 1; at most sqrt(dimension / (dimension + 1)) where the
    last column is 0.

    Args:
        weights: array or torch tensor of float64, float32, float16 or bfloat16.

    Raises:
        ValueError: weights that are not a square matrix of at least 2 x 2, not finite, or all 0.
        TypeError: another dtype.
    """
    given = square_weights(weights)
    # Scaled first: squares of extreme weights overflow or vanish.
    largest = np.abs(given).max()
    if largest == 0:
        raise ValueError("contrast_ratio: weights that are all 0 have no direction")
    given = given / largest
    return float(np.trace(given) / (np.linalg.norm(given) * np.sqrt(len(given))))


def _answers(predictor: Any, tasks: Tasks | Prompts | Statistics) -> Iterator[tuple[Floats, Floats]]:
    """Predictions and targets, some tasks at a time."""
    if not hasattr(predictor, "predict"):
        weights = square_weights(predictor, tasks.dimension)
        for statistics in statistics_of(tasks):
            yield _predict(weights, statistics), statistics.target
        return
    for prompts in prompts_of("tasks", tasks, "a predictor"):
        labels = of_shape("predictions", predictor.predict(prompts), (len(prompts),), "one label a task")
        yield labels, prompts.target
