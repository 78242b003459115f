"""When in a training the output embedding comes to hold token frequencies, and when the loss falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope.analyses.intake import real, vector
from lmscope.analyses.intervals import t_interval
from lmscope.analyses.token_encoding import Encoding, fit_token_encoding

__all__ = ["Reached", "StepsApart", "frequency_encoding", "reached", "steps_apart"]

InTime = Literal["later", "earlier", "unknown"]


@dataclass(frozen=True)
class Reached:
    """Where in a training a curve has come to a level: known to two checkpoints, guessed between them.

    Attributes:
        step: interpolated linearly on ``log(step + 1)`` between the two; the first checkpoint where the curve
            is there from the start.
        after: the last checkpoint before it is there; None where it is at the first, or before.
        by: the first checkpoint at which it is there.
        level: the value that it had to come to.
    """

    step: float
    after: int | None
    by: int
    level: float


@dataclass(frozen=True)
class StepsApart:
    """By how many doublings of the steps one thing comes after another, over trainings.

    Attributes:
        doublings: mean of ``log2((later + 1) / (earlier + 1))`` of the interpolated steps; below 0 where
            "later" is the earlier one.
        least, most: means of the least and the most that the checkpoints around the two leave open.
        low, high: interval over trainings that holds Student's interval of every place between those
            checkpoints; NaN for one training.
        trainings: how many.
        confidence: of the interval.
        order: ``"later"`` or ``"earlier"`` where that much is known, else ``"unknown"``: over trainings where
            0 is outside of ``low`` to ``high``, of one training, for itself alone, where the two lie between
            different checkpoints.
    """

    doublings: float
    least: float
    most: float
    low: float
    high: float
    trainings: int
    confidence: float
    order: InTime


def reached(
    steps: Sequence[int], values: Any, share: float = 0.9, *, of: Literal["way", "last"] = "way"
) -> Reached | None:
    """Where a curve has first made a share of its way, or come to a share of its last value.

    That is the first crossing of ``first + share * (last - first)``, up or down, or of ``share * last`` from
    below. A curve that overshoots its last value and comes back counts from the first crossing; noise on a
    curve that is nearly flat for long can put it early.

    Args:
        steps: at least two, ascending, from 0 up.
        values: one finite value of each.
        share: above 0, at most 1.
        of: ``"way"``, as of a loss, which starts from a level of its own; ``"last"``, as of an R2, which
            counts from 0.

    Returns:
        None where there is no way to make: the last value equals the first, or is not above 0 for
        ``of="last"``.

    Raises:
        ValueError: other steps, lengths that disagree, a value that is not finite, another share or ``of``.
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
    if of not in ("way", "last"):
        raise ValueError(f"of must be 'way' or 'last', got {of!r}")
    start = float(curve[0]) if of == "way" else 0.0
    way = float(curve[-1]) - start
    if way == 0 or (of == "last" and way < 0):
        return None
    level = start + share * way
    made = (curve - start) / way
    # By rounding the last value may miss a share of 1.
    made[-1] = 1.0
    at = int(np.argmax(made >= share))
    if at == 0:
        return Reached(float(steps[0]), None, int(steps[0]), level)
    before = at - 1
    part = (share - made[before]) / (made[at] - made[before])
    log_step = np.log1p(np.asarray(steps, dtype=np.float64))
    step = float(np.expm1(log_step[before] + part * (log_step[at] - log_step[before])))
    return Reached(min(max(step, steps[before]), steps[at]), int(steps[before]), int(steps[at]), level)


def steps_apart(
    earlier: Sequence[Reached], later: Sequence[Reached], *, confidence: float = 0.95
) -> StepsApart:
    """Compares two steps of each of several trainings, as :func:`reached` gives them.

    Between checkpoints nothing is known: each difference may lie anywhere from ``least`` to ``most``, and the
    interval is wide enough for all of it. An order is claimed of two things that have none in at most 5 % of
    comparisons (at 95 %, where differences over trainings are normal), however far apart the checkpoints
    are; in simulated trainings of 2 to 5 seeds it was below 1 %.

    Args:
        earlier, later: one of each training, in the same order.
        confidence: of the interval.

    Raises:
        ValueError: none, or lengths that disagree, a confidence outside (0, 1).
    """
    if len(earlier) != len(later) or not earlier:
        raise ValueError(
            f"earlier and later must be equally many, at least 1, got {len(earlier)} and {len(later)}"
        )
    from scipy import stats

    first, second = _doublings(earlier), _doublings(later)
    mean, low, high = t_interval(second[1] - first[1], confidence)
    below, above = second[0] - first[2], second[2] - first[0]
    least, most = float(below.mean()), float(above.mean())
    trainings = len(earlier)
    if trainings == 1:
        order = _order(least >= 0 and most > 0, most <= 0 and least < 0)
    else:
        # Any point of the brackets is their middle and at most half their width: by the triangle inequality
        # the deviation over trainings is at most this.
        half_widths = (above - below) / 2
        spread = np.std((above + below) / 2, ddof=1) + math.sqrt((half_widths**2).sum() / (trainings - 1))
        quantile = float(stats.t.ppf((1 + confidence) / 2, trainings - 1))
        half = float(quantile * spread / math.sqrt(trainings))
        low, high = least - half, most + half
        order = _order(low > 0, high < 0)
    return StepsApart(mean, least, most, low, high, trainings, confidence, order)


def _doublings(steps: Sequence[Reached]) -> npt.NDArray[np.float64]:
    """Of ``step + 1``: the least it may be, as interpolated, and the most; what is there at the first
    checkpoint may be there since step 0."""
    ends = [[one.after or 0, one.step, one.by] for one in steps]
    doublings: npt.NDArray[np.float64] = np.log2(np.asarray(ends, dtype=np.float64).T + 1)
    return doublings


def _order(later: bool, earlier: bool) -> InTime:
    return "later" if later else "earlier" if earlier else "unknown"


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
