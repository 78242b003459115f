"""The Boltzmann distribution of the weights of linear attention: exact marginals and exact draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import not_negative, positive, whole
from lmscope.spin_glass.couplings import BLOCK, Fields
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.modes import Modes, zero_modes
from lmscope.spin_glass.replicas import mean_overlap
from lmscope.spin_glass.streams import Stream, generator

__all__ = ["Marginals", "Samples", "marginals", "sample"]

Floats = npt.NDArray[np.float64]

# Draws, the noise that they are made of, and the triangular solve's copy.
_COPIES = 3
_ABOVE_ROUNDING = 100
"""Regularization over rounding errors: variances are off by no more than its inverse, 1 %."""


@dataclass(frozen=True, eq=False, repr=False)
class Marginals:
    """Exact means and variances of exp(-beta H), a Gaussian.

    Attributes:
        mean: (dimension + 1) x (dimension + 1): the ground state.
        variance: likewise: the diagonal of (beta (A + lambda0))^-1; of the free last column 1 / (beta
            lambda0).
        regularization, inverse_temperature: lambda0 and beta.
    """

    mean: Floats
    variance: Floats
    regularization: float
    inverse_temperature: float

    @property
    def spread(self) -> float:
        """Mean variance of the spins that enter, all but the last column."""
        return float(self.variance[:, :-1].mean())

    def __repr__(self) -> str:
        return f"Marginals({html_repr.shape(self.mean.shape)} spins: spread={self.spread:.6g})"

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Marginals of {html_repr.shape(self.mean.shape)} spins",
            html_repr.facts(
                [
                    ("regularization", html_repr.number(self.regularization)),
                    ("inverse temperature", html_repr.number(self.inverse_temperature)),
                    ("mean variance of the spins that enter", html_repr.number(self.spread)),
                ]
            ),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Independent draws of the weights from exp(-beta H): replicas.

    Attributes:
        weights: draws x (dimension + 1) x (dimension + 1).
        mean: (dimension + 1) x (dimension + 1): the exact mean, the ground state.
        regularization, inverse_temperature: lambda0 and beta.
    """

    weights: Floats
    mean: Floats
    regularization: float
    inverse_temperature: float

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def spread(self) -> float:
        """Mean squared deviation from the exact mean, over draws and the spins that enter (all but the last
        column); its expectation is the mean of 1 / (beta (l_i + lambda0)) over the eigenvalues l_i of A."""
        return float(np.square(self._deviations()).mean())

    @property
    def overlap(self) -> float:
        """Mean cosine between two draws, over all pairs and the spins that enter; NaN of a single draw."""
        return mean_overlap(self.weights[:, :, :-1].reshape(len(self), -1))

    def mode_variances(self, modes: Modes) -> Floats:
        """Mean squared deviation from the exact mean along each eigenvector of A.

        Returns:
            float64, (spins,), in the order of ``modes``. Its law is 1 / (beta (l_i + lambda0)) times a
            chi-square variable over its degrees of freedom, the draws.

        Raises:
            ValueError: modes of another number of spins.
        """
        deviations = self._deviations()
        _check_same(modes, deviations.shape[1])
        variances: Floats = np.square(deviations @ modes.vectors).mean(axis=0)
        return variances

    def _deviations(self) -> Floats:
        return (self.weights - self.mean)[:, :, :-1].reshape(len(self), -1)

    def __repr__(self) -> str:
        return (
            f"Samples({len(self)} draws of {html_repr.shape(self.mean.shape)} spins: "
            f"spread={self.spread:.6g}, overlap={self.overlap:.6g})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"{len(self)} draws of {html_repr.shape(self.mean.shape)} spins",
            html_repr.facts(
                [
                    ("regularization", html_repr.number(self.regularization)),
                    ("inverse temperature", html_repr.number(self.inverse_temperature)),
                    ("mean variance of the spins that enter", html_repr.number(self.spread)),
                    ("mean cosine between draws", html_repr.number(self.overlap)),
                ]
            ),
        )


def marginals(fields: Fields, *, regularization: float, inverse_temperature: float = 1.0) -> Marginals:
    """Exact mean and variance of every weight under exp(-beta H), H the regularised quadratic energy.

    From the Cholesky factor of A + lambda0; no eigenvectors. Rounding, that of A too, moves variances by at
    most 1 % at the least regularization that is taken, and by less in proportion above it.

    Args:
        fields: of the tasks.
        regularization: lambda0, above 0.
        inverse_temperature: beta, above 0.

    Raises:
        ValueError: an inverse temperature that is not above 0 and finite; a regularization below 0; one of 0,
            or less than 100 times the rounding errors of A (flat directions leave the distribution without a
            norm; says how many); a factor that does not fit in memory.
    """
    from scipy.linalg.lapack import dpotri

    beta = positive("inverse_temperature", inverse_temperature)
    least = _held(fields, regularization)
    lower = _factor(fields, least)
    mean = _solve(lower, fields.field)
    inverse, _ = dpotri(lower, lower=1, overwrite_c=1)
    return Marginals(
        _whole(fields, mean, 0.0),
        # No eigenvalue of A is below 0, but for rounding.
        _whole(fields, np.minimum(np.diag(inverse), 1 / least) / beta, 1 / (beta * least)),
        least,
        beta,
    )


def sample(
    fields: Fields,
    *,
    regularization: float,
    inverse_temperature: float = 1.0,
    draws: int = 1,
    seed: int = 0,
    modes: Modes | None = None,
) -> Samples:
    """Independent exact draws of the weights from exp(-beta H), a Gaussian.

    W = ground state + L'^-1 z / sqrt(beta) with z standard normal and A + lambda0 = LL', or by ``modes``, the
    eigenvectors of A: ground state + sum_i vector_i z_i / sqrt(beta (l_i + lambda0)). The free last column is
    z / sqrt(beta lambda0). With the same seed more draws begin with the same ones.

    Args:
        fields: of the tasks.
        regularization: lambda0, above 0.
        inverse_temperature: beta, above 0.
        draws: how many.
        seed: of z.
        modes: of the same fields, where they are at hand: cheaper for many regularizations; other draws of
            the same law.

    Raises:
        ValueError: as :func:`marginals`; draws below 1 or too many for the memory; a seed below 0 or from
            2**63 up; modes of another dimension.
    """
    beta = positive("inverse_temperature", inverse_temperature)
    least = _held(fields, regularization)
    number = whole("draws", draws, 1)
    rows = fields.dimension + 1
    check_memory(
        f"{number} draws of {rows**2} spins",
        8 * _COPIES * number * rows**2,
        "draw fewer at a time, with other seeds",
    )
    weights = generator(seed, Stream.SAMPLES).standard_normal((number, rows, rows))
    noise = weights[:, :, :-1].reshape(number, -1)
    if modes is None:
        from scipy.linalg import solve_triangular

        lower = _factor(fields, least)
        mean = _whole(fields, _solve(lower, fields.field), 0.0)
        moved = solve_triangular(lower, noise.T, lower=True, trans=1, check_finite=False).T
    else:
        _check_same(modes, fields.spins)
        mean = modes.ground_state(least)
        stiffness = np.where(modes.values > modes.bounds, modes.values, 0.0) + least
        moved = (noise / np.sqrt(stiffness)) @ modes.vectors.T
    weights[:, :, :-1] = moved.reshape(number, rows, -1)
    weights[:, :, -1] /= math.sqrt(least)
    weights /= math.sqrt(beta)
    weights += mean
    return Samples(weights, mean, least, beta)


def _held(fields: Fields, regularization: float) -> float:
    """lambda0, where it holds every mode."""
    least = not_negative("regularization", regularization)
    # The trace is the sum over tasks of squared lengths of features: what sums of outer products lose, by
    # blocks of 256, and what a factor loses, as matrices.
    summed = fields.spins + fields.additions + BLOCK
    rounding = summed * np.finfo(np.float64).eps * float(np.trace(fields.gram))
    if least > _ABOVE_ROUNDING * rounding:
        return least
    lost = f", less than {_ABOVE_ROUNDING} times the rounding errors of A, {rounding:.3g}" if least else ""
    flat = zero_modes(fields).count
    raise ValueError(
        f"regularization is {least:g}{lost}: the Boltzmann distribution has {flat} flat directions among "
        f"{(fields.dimension + 1) ** 2} spins ({fields.dimension + 1} of them the last column, which never "
        "enters) and cannot be normalised; give a larger regularization, or take the ground state alone"
    )


def _factor(fields: Fields, regularization: float) -> Floats:
    """The lower Cholesky factor of A + lambda0."""
    from scipy.linalg import cholesky

    check_memory(
        f"the Cholesky factor of {fields.spins} spins (dimension {fields.dimension})",
        gram_bytes(fields.dimension),
        "take a smaller dimension",
    )
    # Symmetric: the transpose is the column order that LAPACK factors in place.
    shifted = fields.gram.copy().T
    shifted[np.diag_indices(fields.spins)] += regularization
    lower: Floats = cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
    return lower


def _check_same(modes: Modes, spins: int) -> None:
    if len(modes.vectors) != spins:
        raise ValueError(f"modes must be those of the same {spins} spins, got {len(modes.vectors)}")


def _solve(lower: Floats, field: Floats) -> Floats:
    from scipy.linalg import cho_solve

    solution: Floats = cho_solve((lower, True), field, check_finite=False)
    return solution


def _whole(fields: Fields, entering: Floats, free: float) -> Floats:
    rows = fields.dimension + 1
    return np.pad(entering.reshape(rows, -1), ((0, 0), (0, 1)), constant_values=free)
