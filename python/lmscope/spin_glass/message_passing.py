"""Approximate message passing on the couplings of in-context learning: means and variances of the spins."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import as_number, not_negative, of_shape, positive, vector, whole
from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.streams import Stream, generator

__all__ = ["Amp", "amp", "pass_messages"]

Floats = npt.NDArray[np.float64]
Start = Literal["prior", "random"]

_AT_REST = 1e-8
"""Relative change of variances from which on the means' map is taken as constant."""
_ROUNDING = 1e-12
"""Changes below it may grow and shrink by rounding."""
_GROWING = 10
"""Steps that must grow one after the other before the means are said to diverge."""
# Beside the Gram matrix: couplings, their squares, and a mask while they are checked.
_COPIES = 2.125


@dataclass(frozen=True, eq=False, repr=False)
class Amp:
    """Marginals of the Boltzmann distribution by approximate message passing.

    Attributes:
        mean: of every spin; NaN where the iteration diverged, where it stood if it ran out of steps.
        variance: likewise.
        converged: the last change is at most the tolerance.
        diverged: no fixed point can be reached from this start: a variance would be negative or infinite, or
            the means move ever faster.
        reason: why it has not converged, else "".
        steps: updates made.
        changes: (steps,): of the means and variances by one undamped update; the larger of the greatest
            change of a mean over the greatest mean, and of the greatest relative change of a variance.
        spin: where the variance was lost, as an index into ``mean``; None otherwise.
        stiffness_left: beta * lambda - V there, which must be above 0; NaN otherwise.
    """

    mean: Floats
    variance: Floats
    converged: bool
    diverged: bool
    reason: str
    steps: int
    changes: Floats
    spin: tuple[int, ...] | None = None
    stiffness_left: float = math.nan

    def __repr__(self) -> str:
        return f"Amp({html_repr.shape(self.mean.shape)} spins: {self._verdict()})"

    def _repr_html_(self) -> str:
        last = float(self.changes[-1]) if len(self.changes) else None
        return html_repr.block(
            "Approximate message passing",
            html_repr.facts(
                [
                    ("spins", html_repr.shape(self.mean.shape)),
                    ("steps", self.steps),
                    ("last change", html_repr.number(last)),
                ]
            ),
            html_repr.line(self._verdict()),
        )

    def _verdict(self) -> str:
        if self.converged:
            return f"converged in {self.steps} steps"
        return f"{'diverged' if self.diverged else 'not converged'}: {self.reason}"


def amp(
    fields: Fields,
    *,
    regularization: float,
    inverse_temperature: float = 1.0,
    onsager: bool = True,
    damping: float = 0.9,
    max_steps: int = 10_000,
    tol: float = 1e-8,
    start: Start = "prior",
    seed: int = 0,
    strict: bool = False,
) -> Amp:
    """Means and variances of the weights of linear attention under exp(-beta H), by message passing.

    With the Onsager term the fixed point of the means is the ground state exactly, and does not depend on the
    temperature. Without it (as arXiv 2408.02288 computes) it is that of a smaller regularization, spin by
    spin: (A + regularization - V / beta) W = h. The variances are an approximation for couplings that are
    many and weak; it neglects loops, and its relative error falls about as 1 / tasks^2: at dimension 10,
    prompts of 100 and regularization 0.01 it is 0.14 % on average over the spins and 0.3 to 0.9 % at the
    worst one of 5000 tasks, and at most 0.2 % at any of 10 000 tasks (60 seeds). Exact variances:
    :func:`marginals`; where message passing converges: :func:`message_stability`.

    Args:
        fields: of the tasks.
        regularization: lambda0, at least 0. With 0 the free last column has variance infinity.
        inverse_temperature: beta, above 0.
        onsager, damping, max_steps, tol, start, seed, strict: as in :func:`pass_messages`.

    Returns:
        :class:`Amp` with arrays (dimension + 1) x (dimension + 1). The last column needs no messages: mean 0
        and variance 1 / (beta * lambda0).

    Raises:
        ValueError: an argument out of its range, or matrices that do not fit in memory.
        RuntimeError: ``strict`` and not converged.
    """
    beta = positive("inverse_temperature", inverse_temperature)
    least = not_negative("regularization", regularization)
    check_memory(
        f"message passing between {fields.spins} spins (dimension {fields.dimension})",
        gram_bytes(fields.dimension, _COPIES),
        "take a smaller dimension",
    )
    couplings = -fields.gram
    np.fill_diagonal(couplings, 0.0)
    found = pass_messages(
        couplings,
        fields.field,
        least + np.diag(fields.gram),
        inverse_temperature=beta,
        onsager=onsager,
        damping=damping,
        max_steps=max_steps,
        tol=tol,
        start=start,
        seed=seed,
    )
    rows = fields.dimension + 1
    free = 1 / (beta * least) if least else math.inf
    mean = np.zeros((rows, rows))
    variance = np.full((rows, rows), free)
    mean[:, :-1] = found.mean.reshape(rows, -1)
    variance[:, :-1] = found.variance.reshape(rows, -1)
    found = replace(found, mean=mean, variance=variance)
    if found.spin is not None:
        spin = divmod(found.spin[0], fields.dimension)
        cause = (
            f"too few tasks ({fields.tasks}, {fields.spins} spins), too little regularization ({least:g}) or "
            "couplings that stay strong with any number of tasks (correlated tokens, few distinct teachers)"
            if start == "prior"
            else "from this random start; start='prior' finds the fixed point where there is one"
        )
        reason = f"{_lost(found.steps, spin, found.stiffness_left)}: {cause}"
        found = replace(found, spin=spin, reason=reason)
    return _told(found, strict)


# Means that outgrow the numbers are told.
@np.errstate(over="ignore", invalid="ignore")
def pass_messages(
    couplings: npt.ArrayLike,
    external: npt.ArrayLike,
    stiffness: npt.ArrayLike,
    *,
    inverse_temperature: float = 1.0,
    onsager: bool = True,
    damping: float = 0.9,
    max_steps: int = 10_000,
    tol: float = 1e-8,
    start: Start = "prior",
    seed: int = 0,
    strict: bool = False,
) -> Amp:
    """Approximate message passing for H = -sum_{i<j} J_ij s_i s_j - h's + sum_i lambda_i s_i^2 / 2.

    The cavity equations of arXiv 2408.02288 with messages replaced by marginals::

        M_i = beta sum_j J_ij m_j            V_i = beta^2 sum_j J_ij^2 v_j
        m_i <- (beta h_i + M_i - V_i m_i) / (beta lambda_i - V_i)        v_i <- 1 / (beta lambda_i - V_i)

    of all spins at once, where ``- V_i m_i`` is Onsager's reaction term.

    Args:
        couplings: J, spins x spins, symmetric, zero on the diagonal.
        external: h, (spins,).
        stiffness: lambda, (spins,), above 0.
        inverse_temperature: beta, above 0.
        onsager: with the reaction term, or without (as the paper's code).
        damping: the share of the old state that is kept, from 0 up to but not including 1.
        max_steps: updates after which it stops, converged or not.
        tol: the change (:class:`Amp`) that counts as none, at least 0.
        start: ``"prior"``: means 0 and variances 1 / (beta lambda), from which the variances rise to their
            least fixed point if there is one, and otherwise until one is lost. ``"random"``: both standard
            normal, as the paper's code has it; a variance may start negative.
        seed: of the random start.
        strict: raise where it does not converge.

    Returns:
        :class:`Amp` with arrays (spins,).

    Raises:
        ValueError: an argument of the wrong shape or out of its range, arrays that are not finite, couplings
            that are not symmetric or not zero on the diagonal.
        RuntimeError: ``strict`` and not converged; says why.
    """
    j, h, stiff = _checked(couplings, external, stiffness)
    beta = positive("inverse_temperature", inverse_temperature)
    if not 0 <= as_number("damping", damping) < 1:
        raise ValueError(f"damping must be at least 0 and below 1, got {damping}")
    limit = whole("max_steps", max_steps, 1)
    tolerance = not_negative("tol", tol)
    whole("seed", seed, 0)
    if start not in ("prior", "random"):
        raise ValueError(f"start must be 'prior' or 'random', got {start!r}")
    if start == "prior":
        mean, variance = np.zeros(len(h)), 1 / (beta * stiff)
    else:
        random = generator(seed, Stream.MESSAGES)
        mean, variance = random.standard_normal(len(h)), random.standard_normal(len(h))

    squared = j * j
    changes: list[float] = []
    before, growing = math.inf, 0
    for step in range(1, limit + 1):
        onto = beta**2 * (squared @ variance)
        left = beta * stiff - onto
        # A NaN is no better than a negative number.
        if not left.min() > 0:
            at = int(np.argmin(left))
            return _told(_variance_lost(len(h), step - 1, changes, at, float(left[at])), strict)
        pull = beta * (h + j @ mean)
        if onsager:
            pull -= onto * mean
        new_mean, new_variance = pull / left, 1 / left
        moved = new_mean - mean
        variance_change = float(np.max(np.abs(new_variance - variance) / new_variance))
        changes.append(max(variance_change, _share(moved, new_mean)))
        mean += (1 - damping) * moved
        variance += (1 - damping) * (new_variance - variance)
        if changes[-1] <= tolerance:
            return Amp(mean, variance, True, False, "", step, np.array(changes))
        # With the variances at rest the means follow a linear map, symmetric in this norm: the norm of a step
        # is log-convex over the steps, so that what grows goes on growing.
        length = float(np.linalg.norm(moved * np.sqrt(left)))
        linear = variance_change <= _AT_REST and changes[-1] > _ROUNDING
        growing = growing + 1 if linear and length > before else 0
        if growing == _GROWING or not math.isfinite(length):
            reason = (
                f"step {step}: the variances are at rest and the means move ever faster"
                if math.isfinite(length)
                else f"step {step}: the means have grown out of the range of numbers"
            )
            return _told(_nowhere(len(h), step, changes, reason), strict)
        before = length
    reason = f"the change after {limit} steps is {changes[-1]:.3g}, more than {tolerance:g}"
    return _told(Amp(mean, variance, False, False, reason, limit, np.array(changes)), strict)


def _share(moved: Floats, new: Floats) -> float:
    """The greatest change over the greatest value; of nothing, none."""
    greatest = float(np.max(np.abs(new)))
    change = float(np.max(np.abs(moved)))
    return change / greatest if greatest else change


def _nowhere(spins: int, steps: int, changes: list[float], reason: str) -> Amp:
    nothing = np.full(spins, np.nan)
    return Amp(nothing, nothing.copy(), False, True, reason, steps, np.array(changes))


def _variance_lost(spins: int, steps: int, changes: list[float], at: int, left: float) -> Amp:
    lost = _nowhere(spins, steps, changes, _lost(steps, (at,), left))
    return replace(lost, spin=(at,), stiffness_left=left)


def _lost(steps: int, spin: tuple[int, ...], left: float) -> str:
    which = spin[0] if len(spin) == 1 else spin
    return f"step {steps + 1}: beta * lambda - V is {left:.3g} at spin {which}, no variance has that"


def _told(found: Amp, strict: bool) -> Amp:
    if strict and not found.converged:
        raise RuntimeError(f"message passing has not converged: {found.reason}")
    return found


def _checked(
    couplings: npt.ArrayLike, external: npt.ArrayLike, stiffness: npt.ArrayLike
) -> tuple[Floats, Floats, Floats]:
    h = vector("external", external)
    j = of_shape("couplings", couplings, (len(h), len(h)), "spins x spins")
    stiff = vector("stiffness", stiffness, length=len(h))
    if np.diagonal(j).any():
        spin = int(np.flatnonzero(np.diagonal(j))[0])
        raise ValueError(
            f"couplings must be 0 on the diagonal, got {j[spin, spin]:g} at spin {spin}; what couples a spin "
            "to itself belongs to its stiffness"
        )
    if not np.array_equal(j, j.T):
        difference = np.abs(j - j.T)
        row, column = map(int, np.unravel_index(int(np.argmax(difference)), j.shape))
        if difference[row, column] > 1e-12 * np.abs(j).max():
            raise ValueError(
                f"couplings must be symmetric, got {j[row, column]:g} at {(row, column)} and "
                f"{j[column, row]:g} at {(column, row)}"
            )
    if not stiff.min() > 0:
        spin = int(np.argmin(stiff))
        raise ValueError(f"stiffness must be above 0, got {stiff[spin]:g} at spin {spin}")
    return j, h, stiff
