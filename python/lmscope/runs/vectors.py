"""Which matrices are compared with which, and whether by their rows or by their columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.architectures import TensorInfo

Vectors = Literal["rows", "columns"]
VECTORS = ("neurons", "rows", "columns")

COMPARED_ROLES = ("query", "key", "value", "attention_output", "gate", "up", "down", "router")
"""Roles whose matrices mean the same thing in every layer."""

# What they write into the residual stream: the vectors of a neuron or head are columns of out x in.
_WRITING = frozenset({"attention_output", "down"})


def vectors_of(role: str, setting: str) -> Vectors:
    """Rows or columns, of a matrix stored out x in, under one of `VECTORS`.

    "neurons": columns for attention output and down, rows for all else (query, key, value, gate, up and
    router read the residual stream by rows, embeddings have a row per token).
    """
    if setting == "neurons":
        return "columns" if role in _WRITING else "rows"
    return "rows" if setting == "rows" else "columns"


def as_columns(weights: NDArray[Any], vectors: Vectors) -> NDArray[Any]:
    """The matrix with the vectors as its columns: a view."""
    return weights if vectors == "columns" else weights.T


@dataclass(frozen=True, slots=True)
class Matrix:
    """One side of a pair.

    Attributes:
        source: tells checkpoints apart.
        series: 0 for the first such matrix of its layer, 1 for the second, as in cross-attention.
        position: place of its layer, from 0, among the `layers` of the checkpoint that have such a matrix.
    """

    tensor: TensorInfo
    vectors: Vectors
    source: int = 0
    series: int = 0
    position: int | None = None
    layers: int | None = None

    @property
    def depth(self) -> int:
        return int(self.tensor.shape[0 if self.vectors == "columns" else 1])

    @property
    def count(self) -> int:
        """How many vectors it has."""
        return int(self.tensor.shape[1 if self.vectors == "columns" else 0])

    @property
    def key(self) -> tuple[int, str]:
        return self.source, self.tensor.name


@dataclass(frozen=True, slots=True)
class Pair:
    """Two matrices with vectors of one length, and the draws of the random-sign null."""

    x: Matrix
    y: Matrix
    draws: int = 0

    @property
    def names(self) -> tuple[str, str]:
        return self.x.tensor.name, self.y.tensor.name

    @property
    def flops(self) -> float:
        return 2.0 * self.x.depth * self.x.count * self.y.count * (1 + self.draws)


def layer_groups(tensors: Iterable[TensorInfo], setting: str) -> list[list[list[Matrix]]]:
    """Matrices that are compared among each other: groups of layers, dense matrices and experts apart.

    A group holds the planned matrices of one role, of one place in the layer (a second query of a layer is
    that of cross-attention) and with vectors of one length; a layer holds one matrix, or its experts in
    order.
    """
    groups: dict[tuple[Any, ...], dict[int, list[Matrix]]] = {}
    seen: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    planned = (tensor for tensor in tensors if tensor.status == "planned" and tensor.role in COMPARED_ROLES)
    for tensor in planned:
        if tensor.layer is None or len(tensor.shape) != 2:
            continue
        series = seen[tensor.role, tensor.layer, tensor.expert]
        seen[tensor.role, tensor.layer, tensor.expert] += 1
        matrix = Matrix(tensor, vectors_of(tensor.role, setting), series=series)
        key = (COMPARED_ROLES.index(tensor.role), tensor.expert is not None, series, matrix.depth)
        groups.setdefault(key, {}).setdefault(tensor.layer, []).append(matrix)
    return [_in_line(layers) for _, layers in sorted(groups.items(), key=lambda group: group[0])]


def _in_line(layers: Mapping[int, list[Matrix]]) -> list[list[Matrix]]:
    return [
        [
            replace(matrix, position=position, layers=len(layers))
            for matrix in sorted(layers[layer], key=lambda matrix: matrix.tensor.expert or 0)
        ]
        for position, layer in enumerate(sorted(layers))
    ]


def layer_pairs(group: list[list[Matrix]], null_draws: int | None) -> Iterator[Pair]:
    """All pairs of layers; of experts those within a layer and those of neighbouring layers.

    All pairs of all experts would grow with the square of the layers. Neighbours, which are layers next to
    each other, experts next to each other within a layer, and the same expert in layers next to each other,
    carry the draws of the null: `null_draws`, or half the number of alternatives, from 3 to 19, where it is
    None, which at most doubles the cost of six layers or more.
    """
    experts = group[0][0].tensor.expert is not None
    if not experts:
        draws = _draws(len(group), null_draws)
        line = [layer[0] for layer in group]
        for (i, x), (j, y) in combinations(enumerate(line), 2):
            yield Pair(x, y, draws if j == i + 1 else 0)
        return
    for layer in group:
        draws = _draws(len(layer), null_draws)
        for (i, x), (j, y) in combinations(enumerate(layer), 2):
            yield Pair(x, y, draws if j == i + 1 else 0)
    for upper, lower in pairwise(group):
        draws = _draws(len(lower), null_draws)
        for x, y in product(upper, lower):
            yield Pair(x, y, draws if x.tensor.expert == y.tensor.expert else 0)


def _draws(alternatives: int, null_draws: int | None) -> int:
    return max(3, min(19, alternatives // 2)) if null_draws is None else null_draws
