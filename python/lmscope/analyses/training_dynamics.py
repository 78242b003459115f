"""When in a training the output embedding comes to hold token frequencies, and when the loss falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lmscope.analyses.intake import real, vector
from lmscope.analyses.intervals import t_interval
from lmscope.analyses.token_encoding import Encoding, fit_token_encoding

__all__ = ["StepsApart", "frequency_encoding", "reached", "steps_apart"]


@dataclass(frozen=True)
class StepsApart:
    """By how many doublings of the steps one thing comes after another, over trainings.

    Attributes:
        doublings: mean of ``log2((later + 1) / (earlier + 1))``; below 0 where "later" is the earlier one.
        low, high: Student's interval of it over trainings; NaN for one training.
        trainings: how many.
        confidence: of the interval.
    """

    doublings: float
    low: float
    high: float
    trainings: int
    confidence: float


def reached(steps: Sequence[int], values: Any, share: float = 0.9) -> float | None:
    """The step at which a curve has made a share of its way from its first value to its last.

    That is the first crossing of ``first + share * (last - first)``, up or down, interpolated linearly on
    ``log(step + 1)`` between the two checkpoints around it. A curve that overshoots its last value and comes
    back counts from the first crossing; noise on a curve that is nearly flat for long can put it early.

    Args:
        steps: at least two, ascending, from 0 up.
        values: one finite value of each.
        share: above 0, at most 1.

    Returns:
        A step from ``steps[0]`` to ``steps[-1]``; None where the last value equals the first.

    Raises:
        ValueError: other steps, lengths that disagree, a value that is not finite, another share.
    """
    curve = vector("values", real(values))
    if len(steps) != len(curve) or len(steps) < 2:
        raise ValueError(
            f"steps and values must be equally many, at least 2, got {len(steps)} and {len(curve)}"
        )
    if any(later <= earlier for earlier, later in pairwise(steps)) or steps[0] < 0:
        raise ValueError(f"steps must ascend from 0 or more, got {list(steps)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    way = float(curve[-1] - curve[0])
    if way == 0:
        return None
    made = (curve - curve[0]) / way
    after = int(np.argmax(made >= share))
    before = after - 1
    part = (share - made[before]) / (made[after] - made[before])
    log_step = np.log1p(np.asarray(steps, dtype=np.float64))
    return float(np.expm1(log_step[before] + part * (log_step[after] - log_step[before])))


def steps_apart(earlier: Sequence[float], later: Sequence[float], *, confidence: float = 0.95) -> StepsApart:
    """Compares two steps of each of several trainings, as :func:`reached` gives them.

    Args:
        earlier, later: one step of each training, from 0 up, in the same order.
        confidence: of the interval.

    Raises:
        ValueError: none, or lengths that disagree, a step below 0 or not finite, a confidence outside (0, 1).
    """
    first, second = vector("earlier", real(earlier)), vector("later", real(later))
    if len(first) != len(second):
        raise ValueError(f"earlier and later must be equally many, got {len(first)} and {len(second)}")
    if min(first.min(), second.min()) < 0:
        raise ValueError(f"steps must be at least 0, got {min(first.min(), second.min())}")
    doublings = (np.log1p(second) - np.log1p(first)) / math.log(2)
    return StepsApart(*t_interval(doublings, confidence), trainings=len(first), confidence=confidence)


def frequency_encoding(
    embedding: Any,
    counts: Any,
    *,
    bias: Any = None,
    hidden_mean: Any = None,
    ridge: float | None = None,
    shuffle: int | None = None,
) -> Encoding:
    """:func:`lmscope.fit_token_encoding` of how often tokens occur in a text, over those that do.

    ``log_probability`` of the result is ``log(counts / counts.sum())``, minus infinity for the others.

    Args:
        embedding, bias, hidden_mean, ridge, shuffle: as `fit_token_encoding` has them.
        counts: shape (V,), from 0 up.

    Raises:
        ValueError: as `fit_token_encoding`; counts of another shape, or below 0.
    """
    occurring = vector("counts", real(counts))
    if occurring.min() < 0:
        token = int(np.argmin(occurring))
        raise ValueError(f"counts must be at least 0, got {occurring[token]:g} for token {token}")
    if not occurring.any():
        raise ValueError("counts are all 0: no token occurs")
    with np.errstate(divide="ignore"):
        log_frequency = np.log(occurring) - math.log(float(occurring.sum()))
    return fit_token_encoding(
        embedding,
        log_frequency,
        bias=bias,
        hidden_mean=hidden_mean,
        tokens=occurring > 0,
        ridge=ridge,
        shuffle=shuffle,
    )
