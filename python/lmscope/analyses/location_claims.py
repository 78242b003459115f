"""Two claims about where information sits, as tests.

That layers of one type behave alike: how much of a score's variance roles explain, and how much layers, and
whether two models rank their roles alike. That weights alone tell: rank correlation of a score of weights
with what activations or lesions say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from lmscope import html_repr
from lmscope.analyses.intake import states, vector, whole
from lmscope.analyses.intervals import confidence_of, t_interval

__all__ = [
    "RankCorrelation",
    "RoleAgreement",
    "VarianceExplained",
    "rank_correlation",
    "role_agreement",
    "variance_explained",
]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_LEAST_GROUPS = 5
_LEAST_ROLES = 4
_LEAST_ORDERS = 20
"""So that a p-value can fall below 0.05; four roles have 24."""
_EXACT_ROLES = 8
"""Up to 8! = 40320 orders are all tried."""
_MOST_BLOCKS = 200
_CHUNK = 2**22
_TIE = 1e-12
"""Sums that differ by rounding alone are equal."""


@dataclass(frozen=True, repr=False)
class VarianceExplained:
    """Shares of the variance of scores over cells of role and layer; None where it was refused.

    Attributes:
        role, layer: share that the one alone explains.
        both: share that a sum of a term of the role and one of the layer explains; ``role + layer`` where
            every role is in every layer.
        interaction: the rest, which is neither.
        role_null, layer_null: mean of ``role`` and ``layer`` over the permutations: what labels without
            meaning explain.
        role_p_value, layer_p_value: by permuting roles within layers, and layers within roles.
        cells, roles, layers: how many.
        draws: permutations of each kind; the smallest p-value is ``1 / (1 + draws)``.
        refused: why there is nothing, or "".
    """

    role: float | None
    layer: float | None
    both: float | None
    interaction: float | None
    role_null: float | None
    layer_null: float | None
    role_p_value: float | None
    layer_p_value: float | None
    cells: int
    roles: int
    layers: int
    draws: int
    refused: str = ""

    def __repr__(self) -> str:
        if self.refused:
            return f"VarianceExplained(refused: {self.refused})"
        return (
            f"VarianceExplained(role={self.role:.3g} (p={self.role_p_value:.2g}), layer={self.layer:.3g} "
            f"(p={self.layer_p_value:.2g}), interaction={self.interaction:.3g}, cells={self.cells})"
        )

    def _repr_html_(self) -> str:
        title = f"Variance over {self.roles} roles and {self.layers} layers"
        if self.refused:
            return html_repr.block(title, html_repr.line(f"Refused: {self.refused}."))
        rows = [
            ("role", self.role, self.role_null, self.role_p_value),
            ("layer", self.layer, self.layer_null, self.layer_p_value),
            ("neither", self.interaction, None, None),
        ]
        cells = [(name, *map(html_repr.number, numbers)) for name, *numbers in rows]
        return html_repr.block(title, html_repr.table(("", "share", "by chance", "p-value"), cells))


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


@dataclass(frozen=True, repr=False)
class RoleAgreement:
    """Whether two models rank their roles alike; None where it was refused.

    Attributes:
        value: Spearman's correlation of the roles' mean scores.
        p_value: two-sided, over orders of the roles.
        exact: over all of them; else over ``draws``.
        roles: those that both have, sorted.
        means, other_means: of each of them, float64.
        draws: orders tried.
        refused: why there is nothing, or "".
    """

    value: float | None
    p_value: float | None
    exact: bool
    roles: tuple[str, ...]
    means: tuple[float, ...]
    other_means: tuple[float, ...]
    draws: int
    refused: str = ""

    def __repr__(self) -> str:
        if self.refused:
            return f"RoleAgreement(refused: {self.refused})"
        return f"RoleAgreement({self.value:.3g}, p_value={self.p_value:.2g}, {len(self.roles)} roles)"

    def _repr_html_(self) -> str:
        rows = [
            (role, html_repr.number(one), html_repr.number(other))
            for role, one, other in zip(self.roles, self.means, self.other_means, strict=True)
        ]
        verdict = (
            f"Refused: {self.refused}."
            if self.refused
            else f"Rank correlation {html_repr.number(self.value)}, p-value {html_repr.number(self.p_value)}."
        )
        return html_repr.block(
            "Mean score of each role in two models",
            html_repr.table(("role", "one", "other"), rows),
            html_repr.line(verdict),
        )


def variance_explained(
    scores: Any,
    roles: Sequence[str],
    layers: Sequence[int],
    *,
    draws: int = 999,
    seed: int = 0,
) -> VarianceExplained:
    """How much of a score's variance over matrices their roles explain, and how much their layers.

    Matrices of one role in one layer (experts) count once, as their mean. Least squares with a term for each
    role and layer, which need not all occur together. The p-value of the role is that of ``both`` among
    scores permuted within layers, as labels of roles without meaning would be; of the layer, within roles.

    Args:
        scores: shape (matrices,), or (matrices, slices): then sums of squares are added over the slices.
        roles, layers: of each matrix.
        draws: permutations.
        seed: of the permutations.

    Raises:
        ValueError: shapes that disagree, or scores that are not finite.

    Returns:
        Shares and p-values; ``refused`` for a single role or layer, too few cells, scores all equal, or fewer
        than 20 different orders, which leave no small p-value.
    """
    array = _real(scores)
    table = vector("scores", array)[:, None] if array.ndim == 1 else states("scores", array)
    draws = whole("draws", draws, 1)
    for name, labels in (("roles", roles), ("layers", layers)):
        if len(labels) != len(table):
            raise ValueError(f"{name} must hold {len(table)} labels, one for each score, got {len(labels)}")
    pairs = list(zip(roles, layers, strict=True))
    cells = sorted(set(pairs))
    number = np.array([cells.index(pair) for pair in pairs]) if len(cells) < len(pairs) else None
    if number is None:
        order = sorted(range(len(pairs)), key=pairs.__getitem__)
        means = table[order]
    else:
        sums = np.zeros((len(cells), table.shape[1]))
        np.add.at(sums, number, table)
        means = sums / np.bincount(number)[:, None]
    role_of = np.unique([role for role, _ in cells], return_inverse=True)[1]
    layer_of = np.unique([layer for _, layer in cells], return_inverse=True)[1]
    sizes = int(role_of.max()) + 1, int(layer_of.max()) + 1

    def refused(reason: str) -> VarianceExplained:
        return VarianceExplained(
            None, None, None, None, None, None, None, None, len(cells), *sizes, draws=0, refused=reason
        )

    if min(sizes) < 2:
        return refused(f"it takes two roles and two layers, and there are {sizes[0]} and {sizes[1]}")
    by_role, by_layer = np.eye(sizes[0])[role_of], np.eye(sizes[1])[layer_of]
    spaces = _span(by_role), _span(by_layer), _span(np.hstack([by_role, by_layer]))
    if spaces[2].shape[1] >= len(cells) - 1:
        return refused(f"{len(cells)} cells of {sizes[0]} roles and {sizes[1]} layers leave no interaction")
    centred = means - means.mean(axis=0)
    total = float(np.sum(centred**2))
    if total <= (_TIE * float(np.abs(means).max())) ** 2 * means.size:
        return refused("all scores are equal")
    orders = min(_orders(layer_of, sizes[0]), _orders(role_of, sizes[1]))
    if orders < _LEAST_ORDERS:
        return refused(
            f"{len(cells)} cells of {sizes[0]} roles and {sizes[1]} layers can be shuffled in "
            f"{orders:.0f} ways that differ, and a p-value takes {_LEAST_ORDERS}"
        )
    role, layer, both = (float(np.sum((space.T @ centred) ** 2)) / total for space in spaces)

    generator = np.random.default_rng([seed, 1])
    found = []
    for space, strata in ((spaces[0], layer_of), (spaces[1], role_of)):
        at_least, alone = 0, 0.0
        for order in _orders_within(strata, draws, generator):
            permuted = centred[order]
            shares = np.sum(np.einsum("cs,dck->dsk", spaces[2], permuted) ** 2, axis=(1, 2)) / total
            at_least += int(np.count_nonzero(shares >= both - _TIE))
            alone += float(np.sum(np.einsum("cs,dck->dsk", space, permuted) ** 2)) / total
        found.append((alone / draws, (1 + at_least) / (1 + draws)))
    (role_null, role_p), (layer_null, layer_p) = found
    return VarianceExplained(
        role=role,
        layer=layer,
        both=both,
        interaction=max(0.0, 1 - both),
        role_null=role_null,
        layer_null=layer_null,
        role_p_value=role_p,
        layer_p_value=layer_p,
        cells=len(cells),
        roles=sizes[0],
        layers=sizes[1],
        draws=draws,
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
    first = vector("x", _real(x))
    second = vector("y", _real(y), length=first.size)
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
    ranks = _standard_ranks(first), _standard_ranks(second)
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


def role_agreement(
    scores: npt.ArrayLike,
    roles: Sequence[str],
    other_scores: npt.ArrayLike,
    other_roles: Sequence[str],
    *,
    draws: int = 9999,
    seed: int = 0,
) -> RoleAgreement:
    """Rank correlation of the roles' mean scores in two models, over the roles that both have.

    Args:
        scores, roles: of the matrices of one model, shape (matrices,).
        other_scores, other_roles: of the other.
        draws: orders of the roles that the p-value rests on where there are more than 8; else all are tried.
        seed: of the orders.

    Raises:
        ValueError: lengths that disagree, or scores that are not finite.

    Returns:
        The correlation; ``refused`` below 4 roles in common, whose orders are too few for any p-value, or
        where all roles of a model have one mean.
    """
    one = _means(vector("scores", _real(scores)), roles, "roles")
    other = _means(vector("other_scores", _real(other_scores)), other_roles, "other_roles")
    draws = whole("draws", draws, 1)
    common = tuple(sorted(one.keys() & other.keys()))
    means, other_means = (tuple(by_role[role] for role in common) for by_role in (one, other))
    if len(common) < _LEAST_ROLES:
        reason = f"it takes {_LEAST_ROLES} roles in both, and there are {len(common)}"
    elif min(np.ptp(means), np.ptp(other_means)) == 0:
        reason = "all roles of a model have the same mean"
    else:
        reason = ""
    if reason:
        return RoleAgreement(None, None, False, common, means, other_means, 0, reason)
    a, b = _standard_ranks(np.array(means)), _standard_ranks(np.array(other_means))
    value = float(a @ b)
    exact = len(common) <= _EXACT_ROLES
    if exact:
        orders = np.array(list(itertools.permutations(range(len(common)))))
    else:
        generator = np.random.default_rng([seed, 3])
        orders = generator.permuted(np.tile(np.arange(len(common)), (draws, 1)), axis=1)
    extreme = int(np.count_nonzero(np.abs(b[orders] @ a) >= abs(value) - _TIE))
    p_value = extreme / len(orders) if exact else (1 + extreme) / (1 + len(orders))
    return RoleAgreement(value, p_value, exact, common, means, other_means, len(orders))


def _real(given: Any) -> npt.NDArray[Any]:
    array = np.asarray(given)
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def _orders(strata: Indices, labels: int) -> float:
    """In how many ways permutations within the strata group the points, names of the labels aside."""
    return math.prod(math.factorial(int(size)) for size in np.bincount(strata)) / math.factorial(labels)


def _span(indicators: Floats) -> Floats:
    """Orthonormal basis of the columns, less their common mean."""
    left, values, _ = np.linalg.svd(indicators - indicators.mean(axis=0), full_matrices=False)
    basis: Floats = left[:, values > 1e-9 * values[0]]
    return basis


def _orders_within(strata: Indices, draws: int, generator: np.random.Generator) -> Any:
    """Chunks of index arrays, draws x points, that permute the points of each stratum among themselves."""
    base = np.argsort(strata, kind="stable")
    step = max(1, _CHUNK // max(1, strata.size**2))
    for first in range(0, draws, step):
        keys = generator.random((min(step, draws - first), strata.size))
        order = np.empty(keys.shape, np.intp)
        order[:, base] = np.argsort(strata + keys, axis=1)
        yield order


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


def _standard_ranks(values: Floats) -> Floats:
    """Of mean 0 and norm 1, so that a scalar product is a correlation; not all values equal."""
    ranks = stats.rankdata(values)
    ranks -= ranks.mean()
    result: Floats = ranks / np.linalg.norm(ranks)
    return result


def _spearman(x: Floats, y: Floats) -> float:
    return float(np.clip(_standard_ranks(x) @ _standard_ranks(y), -1, 1))


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
            a[points], b[points] = _standard_ranks(x[points]), _standard_ranks(y[points])
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


def _means(scores: Floats, roles: Sequence[str], name: str) -> dict[str, float]:
    if len(roles) != scores.size:
        raise ValueError(f"{name} must hold {scores.size} labels, one for each score, got {len(roles)}")
    found: dict[str, list[float]] = {}
    for role, score in zip(roles, scores, strict=True):
        found.setdefault(role, []).append(float(score))
    return {role: float(np.mean(values)) for role, values in found.items()}
