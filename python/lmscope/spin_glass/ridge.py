"""Ground state of the Hamiltonian: ridge regression of targets on features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import not_negative, of_shape
from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.modes import modes, zero_modes

__all__ = ["GroundState", "energy", "ground_state"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class GroundState:
    """Weights of least energy, and how sure they are.

    Attributes:
        weights: W, float64, (dimension + 1) x (dimension + 1); the free last column is 0.
        energy: of these weights, regularization included.
        training_loss: mean squared error on the tasks that the fields come from, without regularization.
        regularization: as given.
        unique: no other weights have this energy, the free last column aside. Without regularization that
            takes dimension * (dimension + 1) tasks; else these are the ones of least norm.
        zero_modes: of :func:`zero_modes`: directions that the tasks say nothing of, free spins included.
        residual: Euclidean norm of (A + regularization) W - h over the spins that enter.
        condition: largest over smallest eigenvalue of A + regularization among the modes that count: relative
            errors of A and h are passed on to the weights up to so many times larger.
    """

    weights: Floats
    energy: float
    training_loss: float
    regularization: float
    unique: bool
    zero_modes: int
    residual: float
    condition: float

    def __repr__(self) -> str:
        size = len(self.weights)
        return (
            f"GroundState({size} x {size}, energy={self.energy:.6g}, training_loss={self.training_loss:.4g}, "
            f"unique={self.unique}, zero_modes={self.zero_modes})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Ground state, weights {html_repr.shape(self.weights.shape)}",
            html_repr.facts(
                [
                    ("energy", html_repr.number(self.energy)),
                    ("training loss", html_repr.number(self.training_loss)),
                    ("regularization", f"{self.regularization:g}"),
                    ("unique", "yes" if self.unique else "no: the one of least norm"),
                    ("zero modes", self.zero_modes),
                    ("residual", f"{self.residual:.2g}"),
                    ("condition", f"{self.condition:.2g}"),
                ]
            ),
        )


def ground_state(fields: Fields, *, regularization: float = 0.0) -> GroundState:
    """The weights W of least energy: (A + regularization) W = h.

    By Cholesky factors where that has one solution; where it has more, the one of least norm, from the
    eigenvectors of A.

    Args:
        fields: of the tasks (:func:`fields`), in float64.
        regularization: one number for all spins, added to the diagonal of A.

    Raises:
        ValueError: a regularization below 0 or not finite, or matrices that do not fit in memory.
        TypeError: a regularization that is not a number.
    """
    regularization = not_negative("regularization", regularization)
    counted = zero_modes(fields)
    largest = counted.values[0] ** 2 + regularization
    known = len(counted.values) == fields.spins
    smallest = (counted.values[-1] ** 2 if known else 0.0) + regularization
    # Below either a factor would divide by rounding errors: its own, and those of A.
    noise = max(
        fields.spins * np.finfo(np.float64).eps * largest,
        counted.bounds[0] * (2 * counted.values[0] + counted.bounds[0]),
    )
    if smallest > noise:
        spins = _solve(fields, regularization)
    else:
        found = modes(fields)
        spins = found.ground_state(regularization)[:, :-1].ravel()
        smallest = min(filter(None, found.stiffness(regularization)), default=math.nan)
    turned = fields.gram @ spins
    residual = turned + regularization * spins - fields.field
    fit = float(spins @ turned) / 2 - float(fields.field @ spins)
    return GroundState(
        weights=np.pad(spins.reshape(-1, fields.dimension), ((0, 0), (0, 1))),
        energy=fit + regularization * float(spins @ spins) / 2,
        # A mean of squares, which rounding may bring below 0.
        training_loss=max(fields.target_power + 2 * fit, 0.0),
        regularization=regularization,
        unique=regularization > 0 or counted.count == fields.dimension + 1,
        zero_modes=counted.count,
        residual=float(np.linalg.norm(residual)),
        condition=float(largest / smallest),
    )


def energy(fields: Fields, weights: npt.ArrayLike, *, regularization: float = 0.0) -> float | Floats:
    """H(W) = W'(A + regularization) W / 2 - h'W; without regularization, half of the training loss less
    ``target_power``.

    Args:
        fields: of the tasks.
        weights: (dimension + 1) x (dimension + 1), or k of them, k x (dimension + 1) x (dimension + 1).
        regularization: of all weights, the free last column included.

    Returns:
        A number, or (k,) float64.

    Raises:
        ValueError: another shape, or a regularization that is not finite or below 0.
    """
    regularization = not_negative("regularization", regularization)
    size = fields.dimension + 1
    if np.ndim(weights) == 3:
        given = of_shape("weights", weights, (None, size, size), "matrices x contexts x queries")
    else:
        given = of_shape("weights", weights, (size, size), "contexts x queries")
    spins = given[..., :-1].reshape(-1, fields.spins)
    found: Floats = np.einsum("ij,ij->i", spins @ fields.gram, spins) / 2 - spins @ fields.field
    found += regularization / 2 * np.square(given).reshape(len(spins), -1).sum(axis=1)
    return found if given.ndim == 3 else float(found[0])


def _solve(fields: Fields, regularization: float) -> Floats:
    from scipy.linalg import cho_factor, cho_solve

    # Symmetric: the transpose is the column order that LAPACK factors in place.
    stiffness = fields.gram.copy().T
    stiffness[np.diag_indices(fields.spins)] += regularization
    factor = cho_factor(stiffness, lower=True, overwrite_a=True, check_finite=False)
    spins: Floats = cho_solve(factor, fields.field, check_finite=False)
    return spins
