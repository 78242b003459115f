"""How much of a score's variance over matrices their roles explain, and how much their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import real, states, vector, whole

__all__ = ["VarianceExplained", "variance_explained"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_LEAST_ORDERS = 20
"""So that a p-value can fall below 0.05."""
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
    array = real(scores)
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
