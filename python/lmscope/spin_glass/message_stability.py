"""Where message passing converges: existence of its fixed point, and how fast a disturbance of it decays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import as_number, not_negative
from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.memory import check_memory, gram_bytes

__all__ = ["MessageStability", "message_stability"]

Floats = npt.NDArray[np.float64]

# Beside the Gram matrix: squared couplings, their slope, and what solving with it takes.
_COPIES = 4.0
_NEWTON_STEPS = 200
"""Quadratic away from the edge of existence, and still a factor of two a step at the edge."""


@dataclass(frozen=True)
class MessageStability:
    """The map of message passing at the fixed point of its variances, damping included.

    Attributes:
        exists: there is a fixed point with all variances above 0. It does not depend on damping, Onsager term
            or temperature.
        variance_radius: spectral radius of the variances' map there; NaN where there is none.
        mean_radius: of the means' map, with the Onsager term or without, as asked.
        damping, onsager: as given.
    """

    exists: bool
    variance_radius: float
    mean_radius: float
    damping: float
    onsager: bool

    @property
    def radius(self) -> float:
        """The larger of both, by which each step shortens the distance to the fixed point in the end."""
        return max(self.variance_radius, self.mean_radius) if self.exists else math.nan

    @property
    def stable(self) -> bool:
        """Message passing from ``start="prior"`` converges."""
        return self.exists and self.radius < 1

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Stability of message passing",
            html_repr.facts(
                [
                    ("fixed point", "exists" if self.exists else "does not exist"),
                    ("spectral radius of the variances", html_repr.number(self.variance_radius)),
                    ("spectral radius of the means", html_repr.number(self.mean_radius)),
                    ("damping", self.damping),
                    ("Onsager term", "with" if self.onsager else "without"),
                ]
            ),
        )


def message_stability(
    fields: Fields, *, regularization: float, onsager: bool = True, damping: float = 0.9
) -> MessageStability:
    """Whether :func:`amp` converges on these couplings, without running it (no published source; derived
    here).

    With u = beta v the temperature drops out: u_i = 1 / (lambda_i - sum_j A_ij^2 u_j). The right side grows
    in every u_j and is convex, so from ``start="prior"`` the variances rise to the least solution, for any
    damping, or, where there is none, until one is lost. Newton's method from the same start stays below the
    least solution, and breaks down where there is none. The means then follow a linear map: with the Onsager
    term 1 - diag(u) (A + lambda0), which is unstable only with little damping; without it
    1 - diag(u) (A + lambda0 - diag(V / beta)), which is unstable where A + lambda0 - diag(V / beta) is not
    positive definite. Between equal and independent couplings without number, a solution needs at least
    4 D (D + 1) (a / (a + lambda0))^2 tasks, a the diagonal of A; features with heavy tails need more (with
    prompts of 100 and lambda0 towards 0: about 7 D (D + 1) at D = 10, 5.5 D (D + 1) at D = 16).

    Args:
        fields: of the tasks.
        regularization, onsager, damping: as in :func:`amp`.

    Raises:
        ValueError: regularization below 0, damping outside [0, 1), or matrices that do not fit in memory.
    """
    least = not_negative("regularization", regularization)
    if not 0 <= as_number("damping", damping) < 1:
        raise ValueError(f"damping must be at least 0 and below 1, got {damping}")
    check_memory(
        f"the stability of message passing between {fields.spins} spins (dimension {fields.dimension})",
        gram_bytes(fields.dimension, _COPIES),
        "take a smaller dimension",
    )
    diagonal = np.diag(fields.gram)
    squared = np.square(fields.gram)
    np.fill_diagonal(squared, 0.0)
    scaled = _least_solution(squared, least + diagonal)
    if scaled is None:
        return MessageStability(False, math.nan, math.nan, damping, onsager)
    variances = _eigenvalues(scaled[:, None] * squared * scaled)
    root = np.sqrt(scaled)
    coupled = -root[:, None] * fields.gram * root
    np.fill_diagonal(coupled, -scaled * (squared @ scaled) if onsager else 0.0)
    means = _eigenvalues(coupled)
    return MessageStability(
        True,
        _damped_radius(variances, damping),
        _damped_radius(means, damping),
        damping,
        onsager,
    )


def _eigenvalues(symmetric: Floats) -> Floats:
    from scipy.linalg import eigh

    values: Floats = eigh(symmetric, eigvals_only=True, check_finite=False)
    return values


def _damped_radius(values: Floats, damping: float) -> float:
    return float(np.max(np.abs(damping + (1 - damping) * values)))


def _least_solution(squared: Floats, stiffness: Floats) -> Floats | None:
    """u = 1 / (stiffness - squared u) with all u above 0, the least; None where there is none."""
    if not stiffness.min() > 0:
        return None
    u = 1 / stiffness
    for _ in range(_NEWTON_STEPS):
        left = stiffness - squared @ u
        if not left.min() > 0:
            return None
        ahead = 1 / left
        residual = ahead - u
        if np.max(residual / ahead) <= 1e-13:
            return u
        slope = -np.square(ahead)[:, None] * squared
        np.fill_diagonal(slope, 1.0)
        try:
            step = np.linalg.solve(slope, residual)
        except np.linalg.LinAlgError:
            return None
        # Below the least solution the slope is less than one and each step upwards.
        if step.min() < -1e-10 * ahead.max():
            return None
        u = u + step
    raise RuntimeError(f"Newton's method for the variances has not settled in {_NEWTON_STEPS} steps")
