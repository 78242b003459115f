"""Removals: a slice of a matrix' singular values taken out of it, and the random controls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import whole

if TYPE_CHECKING:
    from lmscope.kernels.singular_vectors import SingularVectors

__all__ = ["Removal", "random_removal", "slice_removal"]

Floats = npt.NDArray[np.float64]

# Sums of squares in two orders differ by less.
_ROUNDING = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class Removal:
    """What is taken out of a matrix W: what is left is ``W - left @ right.T``.

    Attributes:
        left: float64, rows x directions.
        right: float64, columns x directions; orthonormal columns.
        directions: how many.
        energy: squared Frobenius norm of ``left @ right.T``. With inputs of identity covariance it is the
            expected squared change of W's output.
        energy_share: ``energy`` over the squared Frobenius norm of W; 0 where W is zero.

    ValueError where ``left`` and ``right`` are no matrices of ``directions`` columns, or not finite.
    """

    left: Floats
    right: Floats
    directions: int
    energy: float
    energy_share: float

    def __post_init__(self) -> None:
        for name, side in (("left", self.left), ("right", self.right)):
            if np.ndim(side) != 2 or np.shape(side)[1] != self.directions:
                raise ValueError(
                    f"{name}: should have {self.directions} columns, one a direction; its shape is "
                    f"{list(np.shape(side))}"
                )
            if not np.isfinite(side).all():
                raise ValueError(f"{name}: is not finite in {np.sum(~np.isfinite(side))} of its entries")

    def __repr__(self) -> str:
        shape = f"{len(self.left)} x {len(self.right)}"
        return f"Removal({self.energy_share:.4g} of a {shape} matrix' energy, directions={self.directions})"

    def _repr_html_(self) -> str:
        facts = [
            ("matrix", html_repr.shape((len(self.left), len(self.right)))),
            ("directions", self.directions),
            ("energy", html_repr.number(self.energy)),
            ("share of the matrix' energy", html_repr.number(self.energy_share)),
        ]
        return html_repr.block("Removal", html_repr.facts(facts))


def slice_removal(
    vectors: SingularVectors, ranks: Iterable[int], *, squared_norm: float | None = None
) -> Removal:
    """The part of a matrix that lies in the singular vectors of ``ranks``: their values become zero.

    Args:
        vectors: of :func:`lmscope.singular_vectors`; only the columns of ``ranks`` are read.
        ranks: 0 the largest value; any number of them, in any order, each once. None at all remove nothing.
        squared_norm: of the whole matrix (Frobenius), which the energy share is of; needed where ``vectors``
            hold a part of the values only.

    The product of left vectors, values and right vectors is subtracted, so that the values that stay and
    their vectors change by rounding only: a slice of small values is not the difference of two large sums.

    Raises:
        ValueError: a rank twice or not in ``vectors``, or ``squared_norm`` missing, or smaller than the
            energy.
    """
    held = {int(rank): place for place, rank in enumerate(vectors.ranks)}
    wanted = [whole("ranks", rank, 0) for rank in ranks]
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"ranks: {_first_repeated(wanted)} is there twice")
    missing = [rank for rank in wanted if rank not in held]
    if missing:
        raise ValueError(
            f"ranks: no vectors of rank {missing[0]}: there are {len(held)} ranks, "
            f"{min(held, default='none')} to {max(held, default='none')}"
        )
    places = np.asarray([held[rank] for rank in wanted], dtype=np.intp)
    values = vectors.values[places]
    left = np.asarray(vectors.left[:, places], dtype=np.float64) * values
    right = np.asarray(vectors.right[:, places], dtype=np.float64)
    return _removal(left, right, _squares(values), _norm_of(vectors, squared_norm))


def random_removal(
    vectors: SingularVectors,
    *,
    directions: int | None = None,
    energy: float | None = None,
    seed: int | Sequence[int],
    squared_norm: float | None = None,
) -> Removal:
    """A uniformly random subspace of the space that the right vectors span, removed: a slice's control.

    Args:
        vectors: of :func:`lmscope.singular_vectors`, usually all of them: the subspace is one of the span of
            those that are given.
        directions: the dimension of the subspace, removed whole: ``W - W R R^T`` with orthonormal R, uniform
            (Haar) over the subspaces of this dimension.
        energy: as many random directions as it takes; the last one is removed in part, scaled so that
            ``Removal.energy`` is this number to 1e-10 of it. Exactly one of ``directions`` and ``energy``.
        seed: the same one gives the same bits.
        squared_norm: as in :func:`slice_removal`.

    Works in the coordinates of the singular basis, so that it costs one product of the right vectors with the
    random directions, and none with the matrix.

    Raises:
        ValueError: both or none of ``directions`` and ``energy``; more directions than vectors; a negative
            energy, or one above that of the vectors.
    """
    if (directions is None) == (energy is None):
        raise ValueError("exactly one of directions and energy must be given")
    values = np.asarray(vectors.values, dtype=np.float64)
    norm = _norm_of(vectors, squared_norm)
    generator = np.random.default_rng(seed)
    if directions is not None:
        count = whole("directions", directions, 0)
        if count > len(values):
            raise ValueError(f"directions: {count}, but there are {len(values)} vectors")
        coordinates = _orthonormal(generator.standard_normal((count, len(values))))
        images = values[:, None] * coordinates
    else:
        assert energy is not None
        coordinates, images = _up_to(energy, values, generator)
    left = np.asarray(vectors.left, dtype=np.float64) @ images
    right = np.asarray(vectors.right, dtype=np.float64) @ coordinates
    return _removal(left, right, _squares(images), norm)


def _up_to(energy: float, values: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Random directions in the singular basis, and their images, the last one scaled so that all together
    have the squared norm ``energy``."""
    most = _squares(values)
    if not 0 <= energy <= most * (1 + _ROUNDING):
        raise ValueError(f"energy: {energy:g} is not between 0 and the whole, {most:g}")
    if energy == 0:
        return np.empty((len(values), 0)), np.empty((len(values), 0))
    # More than a random subspace of this energy needs nearly always; the rest is drawn where it is not.
    share = energy / most
    count = min(len(values), math.ceil(len(values) * min(1.0, 1.1 * share)) + 8)
    drawn = generator.standard_normal((count, len(values)))
    while True:
        coordinates = _orthonormal(drawn)
        images = values[:, None] * coordinates
        energies = np.sum(images**2, axis=0)
        sums = np.cumsum(energies)
        if sums[-1] >= energy or len(drawn) == len(values):
            break
        more = min(len(drawn), len(values) - len(drawn))
        drawn = np.concatenate([drawn, generator.standard_normal((more, len(values)))])
    last = min(int(np.searchsorted(sums, energy * (1 - _ROUNDING))), len(sums) - 1)
    missing = energy - (sums[last - 1] if last else 0.0)
    if missing < energies[last]:
        images[:, last] *= math.sqrt(missing / energies[last])
    return coordinates[:, : last + 1], images[:, : last + 1]


def _orthonormal(drawn: Floats) -> Floats:
    """An orthonormal basis, in columns, of what the rows span: uniform where they are Gaussian."""
    basis: Floats = np.linalg.qr(drawn.T)[0]
    return basis


def _removal(left: Floats, right: Floats, energy: float, norm: float) -> Removal:
    if energy > norm * (1 + _ROUNDING):
        raise ValueError(f"squared_norm: {norm:g} is less than the energy removed, {energy:g}")
    return Removal(left, right, right.shape[1], energy, energy / norm if norm > 0 else 0.0)


def _norm_of(vectors: SingularVectors, given: float | None) -> float:
    if given is not None:
        return float(given)
    if len(vectors.values) < min(len(vectors.left), len(vectors.right)):
        raise ValueError(
            f"squared_norm must be given: there are {len(vectors.values)} of the "
            f"{min(len(vectors.left), len(vectors.right))} singular values only"
        )
    return _squares(vectors.values)


def _squares(values: npt.ArrayLike) -> float:
    return float(np.sum(np.square(np.asarray(values, dtype=np.float64))))


def _first_repeated(ranks: Sequence[int]) -> int:
    return next(rank for place, rank in enumerate(ranks) if rank in ranks[:place])
