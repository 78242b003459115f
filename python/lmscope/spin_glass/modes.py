"""Modes of the Hamiltonian: eigenvectors of the Gram matrix, and how many of them the tasks leave free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import not_negative, positive
from lmscope.spin_glass.couplings import Fields, StreamingFields
from lmscope.spin_glass.couplings import fields as fields_of
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["Modes", "ZeroModes", "modes", "zero_mode_ratio", "zero_modes"]

Floats = npt.NDArray[np.float64]

# Beside the Gram matrix: its vectors, and what finding them takes (LAPACK's dsyevd).
_COPIES = 4.0


@dataclass(frozen=True, eq=False, repr=False)
class ZeroModes:
    """Directions in weight space that change no prediction on the tasks.

    Attributes:
        count: singular values of the features that are 0 to within their bounds, and the dimension + 1 free
            spins of the last column.
        ratio: count over (dimension + 1)^2.
        expected: 1 - min(tasks, dimension (dimension + 1)) / (dimension + 1)^2: the ratio where features are
            as independent as their number allows.
        ambiguous: of ``count``, those that the number of tasks does not force: their singular value is too
            small to tell from 0. More tasks tell, or none ever will (tokens in a subspace).
        values: singular values of the features over the root of the number of tasks, float64,
            (min(tasks, spins),), descending; their squares are eigenvalues of the Gram matrix.
        bounds: their absolute error bounds.
    """

    count: int
    ratio: float
    expected: float
    ambiguous: int
    values: Floats
    bounds: Floats

    def __repr__(self) -> str:
        unsure = f", {self.ambiguous} of them ambiguous" if self.ambiguous else ""
        return f"ZeroModes({self.count}{unsure}: ratio {self.ratio:.6g}, expected {self.expected:.6g})"

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"{self.count} zero modes",
            html_repr.facts(
                [
                    ("share of all modes", html_repr.number(self.ratio)),
                    ("expected", html_repr.number(self.expected)),
                    ("too small to tell from zero", self.ambiguous),
                ]
            ),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Modes:
    """Eigenvectors of the Gram matrix A: independent oscillators that the weights are made of.

    Attributes:
        values: eigenvalues of A, float64, (spins,), descending, with spins = dimension * (dimension + 1).
        bounds: their absolute error bounds; 0 for those that the number of tasks forces to be 0.
        vectors: float64, spins x spins, one mode a column.
        along: of the external field h, along each mode, float64, (spins,).
        dimension: of tokens.
    """

    values: Floats
    bounds: Floats
    vectors: Floats
    along: Floats
    dimension: int

    @property
    def zero_modes(self) -> int:
        """Modes without a value above its bound, and the dimension + 1 free spins."""
        return int(np.count_nonzero(self.values <= self.bounds)) + self.dimension + 1

    @property
    def zero_mode_ratio(self) -> float:
        """Zero modes over (dimension + 1)^2."""
        total = (self.dimension + 1) ** 2
        return 1 - (total - self.zero_modes) / total

    @property
    def smallest(self) -> float:
        """The least eigenvalue that is not 0 to within its bound; NaN where there is none."""
        above = self.values[self.values > self.bounds]
        return float(above[-1]) if len(above) else math.nan

    def ground_state(self, regularization: float = 0.0) -> Floats:
        """Weights of least energy, (dimension + 1) x (dimension + 1), float64, of least norm where there are
        more; as :func:`lmscope.spin_glass.ground_state`.

        Raises:
            ValueError: a regularization below 0 or not finite.
        """
        regularization = not_negative("regularization", regularization)
        stiffness = self.stiffness(regularization)
        shares = np.divide(self.along, stiffness, out=np.zeros_like(stiffness), where=stiffness > 0)
        spins = self.vectors @ shares
        return np.pad(spins.reshape(-1, self.dimension), ((0, 0), (0, 1)))

    def stiffness(self, regularization: float) -> Floats:
        """Eigenvalue and regularization together, for the modes that the field moves; 0 for the others.

        The field has no part along modes that no task tells of, and what it seems to have along others whose
        stiffness is within rounding errors of 0 is noise.
        """
        found = self.values + regularization
        return np.where((self.bounds > 0) & (found > self.bounds), found, 0.0)

    def variances(self, regularization: float, inverse_temperature: float = 1.0) -> Floats:
        """Of each weight under the Boltzmann distribution: the diagonal of
        (inverse_temperature (A + regularization))^-1, float64, (dimension + 1) x (dimension + 1).

        Without regularization they are infinite for the last column, and for all weights that a zero mode
        moves.

        Raises:
            ValueError: a regularization below 0, an inverse temperature that is not positive, or either not
                finite.
        """
        regularization = not_negative("regularization", regularization)
        beta = positive("inverse_temperature", inverse_temperature)
        stiffness = np.where(self.values > self.bounds, self.values, 0.0) + regularization
        held = stiffness > 0
        spins = self._squares @ np.divide(1 / beta, stiffness, out=np.zeros_like(stiffness), where=held)
        if not held.all():
            spins[self._squares @ ~held > len(spins) * np.finfo(np.float64).eps] = math.inf
        free = 1 / (beta * regularization) if regularization > 0 else math.inf
        return np.pad(
            spins.reshape(-1, self.dimension), ((0, 0), (0, 1)), constant_values=((0, 0), (0, free))
        )

    def spread(self, regularization: float, inverse_temperature: float = 1.0) -> float:
        """Mean variance of the spins that enter, infinite where a zero mode has no regularization.

        Raises:
            ValueError: as :meth:`variances`.
        """
        regularization = not_negative("regularization", regularization)
        beta = positive("inverse_temperature", inverse_temperature)
        stiffness = np.where(self.values > self.bounds, self.values, 0.0) + regularization
        return math.inf if stiffness.min() == 0 else float(np.mean(1 / (beta * stiffness)))

    @cached_property
    def _squares(self) -> Floats:
        return np.square(self.vectors)

    def __repr__(self) -> str:
        return (
            f"Modes({len(self.values)} from {self.values[0]:.6g} to {self.values[-1]:.6g}, "
            f"{self.zero_modes} zero modes with the {self.dimension + 1} free spins)"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"{len(self.values)} modes",
            html_repr.facts(
                [
                    ("largest eigenvalue", html_repr.number(self.values[0])),
                    ("smallest above zero", html_repr.number(self.smallest)),
                    ("zero modes, free spins included", self.zero_modes),
                    ("their share", html_repr.number(self.zero_mode_ratio)),
                ]
            ),
        )


def zero_modes(fields: Fields | StreamingFields) -> ZeroModes:
    """How many directions in weight space the tasks say nothing of: by singular values of the features
    against their error bounds, without vectors.

    Raises:
        ValueError: a stream that has seen no tasks.
    """
    if isinstance(fields, StreamingFields):
        fields = fields.result()
    found = fields.feature_values()
    total = (fields.dimension + 1) ** 2
    forced = total - len(found)
    unresolved = int(np.count_nonzero(found.values <= found.bounds))
    return ZeroModes(
        count=forced + unresolved,
        ratio=1 - (len(found) - unresolved) / total,
        expected=1 - len(found) / total,
        ambiguous=unresolved,
        values=found.values,
        bounds=found.bounds,
    )


def modes(fields: Fields) -> Modes:
    """Eigenvalues and eigenvectors of the Gram matrix, once for all regularizations and temperatures.

    Eigenvalues and their bounds are squares of the singular values of the features.

    Raises:
        ValueError: vectors that do not fit in memory.
    """
    from scipy.linalg import eigh

    check_memory(
        f"modes of {fields.spins} spins (dimension {fields.dimension})",
        gram_bytes(fields.dimension, _COPIES),
        "take a smaller dimension, or ground_state with a regularization and zero_modes, which need fewer",
    )
    found = fields.feature_values()
    missing = (0, fields.spins - len(found))
    _, vectors = eigh(fields.gram, driver="evd", check_finite=False)
    vectors = np.ascontiguousarray(vectors[:, ::-1])
    return Modes(
        values=np.pad(np.square(found.values), missing),
        bounds=np.pad(found.bounds * (2 * found.values + found.bounds), missing),
        vectors=vectors,
        along=fields.field @ vectors,
        dimension=fields.dimension,
    )


def zero_mode_ratio(*, tasks: int, dimension: int, prompt_length: int, seed: int = 0) -> float:
    """Share of the (dimension + 1)^2 modes that so many tasks say nothing of (arXiv 2408.02288, Fig. S7).

    Raises:
        ValueError: a size below 1, or one that does not fit in memory.
        TypeError: a size that is not a whole number.
    """
    law = make_tasks(tasks=tasks, dimension=dimension, prompt_length=prompt_length, seed=seed)
    return zero_modes(fields_of(law)).ratio
