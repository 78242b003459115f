"""DOCS beside other indices of similarity, for the layers of one role."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope.runs.errors import UsageError
from lmscope.runs.opening import as_checkpoint
from lmscope.runs.selection import select
from lmscope.runs.settings import similarity_settings
from lmscope.runs.streaming import check_selection
from lmscope.runs.vectors import as_columns, layer_groups

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint


@dataclass(frozen=True, repr=False)
class SimilarityIndices:
    """Maps of one role under several indices.

    Attributes:
        role: of the matrices.
        layers: of the lines of the maps.
        maps: index -> float64, layers x layers; "docs" and the names of
            `lmscope.analyses.representation_indices.INDICES`. Linear regression, which is not symmetric, is
            the mean of both ways.
        gini: index -> Gini coefficient of its map, diagonal left out: how much contrast it has.
    """

    role: str
    layers: tuple[int, ...]
    maps: dict[str, npt.NDArray[np.float64]]
    gini: dict[str, float]

    def __repr__(self) -> str:
        told = ", ".join(f"{name} {value:.3f}" for name, value in self.gini.items())
        return f"<SimilarityIndices of {self.role} in {len(self.layers)} layers, Gini: {told}>"


def similarity_indices(
    ckpt: str | os.PathLike[str] | Checkpoint,
    role: str,
    *,
    layers: str | int | Iterable[int] | None = None,
    vectors: str = "neurons",
) -> SimilarityIndices:
    """Compare the layers of one role by DOCS and by CKA, CCA, SVCCA, linear regression and Procrustes.

    All matrices are in memory at once, as float64 where an index needs it; nothing is written.

    Args:
        ckpt: folder, single weight file, hub id, or an open `Checkpoint`.
        role: such as "query"; matrices outside mixtures of experts, of at most 2048 vectors.
        layers: as in `similarity`; all when None.
        vectors: as in `similarity`.

    Raises:
        UsageError: a role with fewer than two layers, or with more than 2048 vectors a matrix.
        CheckpointError: a matrix cannot be read.
        ValueError: a matrix with NaN or Inf, or of zeros.
    """
    from lmscope.analyses.layer_map import gini
    from lmscope.analyses.representation_indices import INDICES, WIDEST
    from lmscope.analyses.similarity import docs

    similarity_settings(vectors=vectors, null_draws=0, seed=0, false_positive_rate=0.5)
    selection = select(layers=layers, roles=role)
    checkpoint = as_checkpoint(ckpt)
    check_selection(checkpoint, selection)
    chosen = [tensor for tensor in checkpoint if tensor in selection and tensor.expert is None]
    groups = [group for group in layer_groups(chosen, vectors) if len(group) > 1]
    if not groups:
        raise UsageError(f"role: {role!r} has no matrices of equal vectors in two layers or more")
    matrices = [layer[0] for layer in groups[0]]
    widest = max(matrices, key=lambda matrix: matrix.count)
    if widest.count > WIDEST:
        raise UsageError(
            f"role: {widest.tensor.name} has {widest.count} vectors, these indices take at most {WIDEST}"
        )
    values = [as_columns(checkpoint.load(matrix.tensor.name), matrix.vectors) for matrix in matrices]
    wide = [np.asarray(value, dtype=np.float64) for value in values]
    maps = {name: np.ones((len(values), len(values))) for name in ("docs", *INDICES)}
    for i, j in combinations(range(len(values)), 2):
        maps["docs"][i, j] = maps["docs"][j, i] = docs(values[i], values[j]).score
        for name, index in INDICES.items():
            found = index(wide[i], wide[j])
            if name == "linear_regression":
                found = (found + index(wide[j], wide[i])) / 2
            maps[name][i, j] = maps[name][j, i] = found
    return SimilarityIndices(
        role=role,
        layers=tuple(matrix.tensor.layer or 0 for matrix in matrices),
        maps=maps,
        gini={name: gini(one) for name, one in maps.items()},
    )
