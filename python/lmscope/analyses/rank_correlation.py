"""Rank correlation of points that come in groups, such as the slices of a matrix."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from lmscope import html_repr
from lmscope.analyses.intake import real, vector, whole
from lmscope.analyses.intervals import confidence_of, t_interval

__all__ = ["RankCorrelation", "rank_correlation", "standard_ranks"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_LEAST_GROUPS = 5
_MOST_BLOCKS = 200
_TIE = 1e-12
"""Correlations that differ by rounding alone are equal."""


@dataclass(frozen=True, repr=False)
class RankCorrelation:
    """Spearman's rank correlation of points in independent groups; None where it was refused.

    Attributes:
        value, low, high: and its interval, which holds what ``shared`` says as well.
        shared: what the correlation would be, on average, if groups were paired at random: that of the
            profiles which all groups have in common. 0 where every group is one point.
        beyond, beyond_low, beyond_high: ``value - shared`` and its interval: what groups say, 0 on average
            for groups that have nothing to do with each other.
        p_value: of ``value`` among such pairings, two-sided; None where no two groups can be exchanged.
        points, groups: how many.
        confidence: of the interval.
        draws: pairings; the smallest p-value is ``2 / (1 + draws)``.
        refused: why there is nothing, or "".
    """

    value: float | None
    low: float | None
    high: float | None
    shared: float | None
    beyond: float | None
    beyond_low: float | None
    beyond_high: float | None
    p_value: float | None
    points: int
    groups: int
    confidence: float
    draws: int
    refused: str = ""

    def __repr__(self) -> str:
        if self.refused:
            return f"RankCorrelation(refused: {self.refused})"
        return (
            f"RankCorrelation({self.value:.3g} ({self.low:.3g} to {self.high:.3g}), "
            f"beyond what groups share {self.beyond:.3g} ({self.beyond_low:.3g} to {self.beyond_high:.3g}), "
            f"p_value={html_repr.number(self.p_value)}, points={self.points}, groups={self.groups})"
        )

    def _repr_html_(self) -> str:
        title = f"Rank correlation of {self.points} points in {self.groups} groups"
        if self.refused:
            return html_repr.block(title, html_repr.line(f"Refused: {self.refused}."))
        return html_repr.block(
            title,
            html_repr.facts(
                [
                    ("correlation", html_repr.number(self.value)),
                    (
                        f"{self.confidence:.0%} interval",
                        f"{html_repr.number(self.low)} to {html_repr.number(self.high)}",
                    ),
                    ("of profiles that all groups share", html_repr.number(self.shared)),
                    (
                        "beyond them",
                        f"{html_repr.number(self.beyond)} ({html_repr.number(self.beyond_low)} to "
                        f"{html_repr.number(self.beyond_high)})",
                    ),
                    ("p-value", html_repr.number(self.p_value)),
                ]
            ),
        )


def rank_correlation(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    within: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    draws: int = 999,
    seed: int = 0,
) -> RankCorrelation:
    """Spearman's correlation of points that come in groups, such as the slices of a matrix.

    The interval is Student's, of Fisher's z, by the jackknife over groups (over 200 random blocks of groups
    where there are more): a bootstrap's percentiles come out too narrow for few groups. The p-value pairs
    each group's x with the y of another, point by point: slice with slice. What all groups have in common,
    such as a profile over slices, stays: it makes ``shared``, and no small p-value. The interval of
    ``value - shared`` is Student's by the same jackknife.

    Args:
        x, y: shape (points,); ties share their mean rank.
        groups: which group a point belongs to; without it every point is one.
        within: what a point is within its group, such as the number of its slice; without it points of a
            group go by their order. Groups can be exchanged where theirs agree.
        confidence: of the interval.
        draws: pairings.
        seed: of the pairings, and of the blocks.

    Raises:
        ValueError: lengths that disagree, numbers that are not finite, a point twice in one group, or a
            confidence outside (0, 1).

    Returns:
        The correlation; ``refused`` for fewer than 5 groups, or where x or y is constant.
    """
    first = vector("x", real(x))
    second = vector("y", real(y), length=first.size)
    draws, confidence = whole("draws", draws, 1), confidence_of(confidence)
    members = _members(first.size, groups, within)
    if len(members) < _LEAST_GROUPS:
        reason = f"an interval takes {_LEAST_GROUPS} independent groups, and there are {len(members)}"
    elif np.ptp(first) == 0 or np.ptp(second) == 0:
        reason = f"{'x' if np.ptp(first) == 0 else 'y'} is the same at all points"
    else:
        reason = ""
    if reason:
        return RankCorrelation(
            None, None, None, None, None, None, None, None,
            first.size, len(members), confidence, draws=0, refused=reason,
        )  # fmt: skip
    value = _spearman(first, second)
    generator = np.random.default_rng([seed, 2])
    stacks = _stacks(members)
    ranks = standard_ranks(first), standard_ranks(second)
    shared = _shared(*ranks, (own for _, own in stacks))
    (low, high), (beyond_low, beyond_high) = _jackknife(
        first, second, stacks, value, value - shared, confidence, generator
    )
    blocks = [(ranks[0][own], ranks[1][own]) for _, own in stacks]
    p_value = None
    if any(len(a) > 1 for a, _ in blocks):
        drawn = np.array(
            [sum(float(np.vdot(a, generator.permutation(b))) for a, b in blocks) for _ in range(draws)]
        )
        above, below = (drawn >= value - _TIE).sum(), (drawn <= value + _TIE).sum()
        p_value = min(1.0, 2 * (1 + int(min(above, below))) / (1 + draws))
    return RankCorrelation(
        value,
        low,
        high,
        shared,
        value - shared,
        beyond_low,
        beyond_high,
        p_value,
        first.size,
        len(members),
        confidence,
        0 if p_value is None else draws,
    )


def _members(
    count: int, groups: Sequence[Hashable] | None, within: Sequence[Hashable] | None
) -> list[tuple[Any, Indices]]:
    """Of each group what its points are, and the points, in an order that is the same for all that agree."""
    for name, labels in (("groups", groups), ("within", within)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{name} must hold {count} labels, one for each point, got {len(labels)}")
    found: dict[Hashable, list[int]] = {}
    for point in range(count):
        found.setdefault(point if groups is None else groups[point], []).append(point)
    if within is None:
        return [(len(points), np.array(points)) for points in found.values()]
    place = {label: number for number, label in enumerate(dict.fromkeys(within))}
    result = []
    for group, points in found.items():
        ordered = sorted(points, key=lambda point: place[within[point]])
        kinds = tuple(place[within[point]] for point in ordered)
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"group {group!r} holds two points of one label of within")
        result.append((kinds, np.array(ordered)))
    return result


def standard_ranks(values: Floats) -> Floats:
    """Of mean 0 and norm 1, so that a scalar product is a correlation; not all values equal."""
    ranks = stats.rankdata(values)
    ranks -= ranks.mean()
    result: Floats = ranks / np.linalg.norm(ranks)
    return result


def _spearman(x: Floats, y: Floats) -> float:
    return float(np.clip(standard_ranks(x) @ standard_ranks(y), -1, 1))


def _stacks(members: list[tuple[Any, Indices]]) -> list[tuple[Indices, Indices]]:
    """Numbers of the groups that can be exchanged, and their points, groups x points."""
    found: dict[Any, list[int]] = {}
    for number, (kind, _) in enumerate(members):
        found.setdefault(kind, []).append(number)
    return [
        (np.array(numbers), np.array([members[number][1] for number in numbers]))
        for numbers in found.values()
    ]


def _shared(a: Floats, b: Floats, stacks: Iterable[Indices]) -> float:
    """Mean correlation over pairings, of standard ranks."""
    return sum(len(own) * float(a[own].mean(axis=0) @ b[own].mean(axis=0)) for own in stacks if len(own))


def _jackknife(
    x: Floats,
    y: Floats,
    stacks: list[tuple[Indices, Indices]],
    value: float,
    beyond: float,
    confidence: float,
    generator: np.random.Generator,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intervals of the correlation, and of it less what is shared."""
    groups = sum(len(numbers) for numbers, _ in stacks)
    parts: Sequence[npt.NDArray[Any]] = list(np.arange(groups)[:, None])
    if groups > _MOST_BLOCKS:
        parts = np.array_split(generator.permutation(groups), _MOST_BLOCKS)
    count = len(parts)
    pseudo = np.empty((2, count))
    for number, part in enumerate(parts):
        kept = np.ones(groups, bool)
        kept[part] = False
        left = [own[kept[numbers]] for numbers, own in stacks]
        points = np.concatenate([own.ravel() for own in left])
        correlation = apart = 0.0
        if np.ptp(x[points]) > 0 and np.ptp(y[points]) > 0:
            a, b = np.zeros(x.size), np.zeros(x.size)
            a[points], b[points] = standard_ranks(x[points]), standard_ranks(y[points])
            correlation = float(a @ b)
            apart = correlation - _shared(a, b, left)
        pseudo[:, number] = (
            count * _fisher(value) - (count - 1) * _fisher(correlation),
            count * beyond - (count - 1) * apart,
        )
    ends = []
    for values, centre in zip(pseudo, (_fisher(value), beyond), strict=True):
        _, low, high = t_interval(values, confidence)
        shift = centre - float(values.mean())
        ends.append((low + shift, high + shift))
    (low, high), of_beyond = ends
    return (math.tanh(low), math.tanh(high)), of_beyond


def _fisher(correlation: float) -> float:
    # A perfect correlation has a finite z: its interval is then a point.
    return math.atanh(max(-1 + 1e-12, min(1 - 1e-12, correlation)))
