"""Float64 definition of the Lasso, scikit-learn's: min (1/(2 samples)) ||y - X w||^2 + alpha ||w||_1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Homotopy",
    "alpha_max",
    "coordinate_descent",
    "dual_point",
    "gap",
    "homotopy",
    "objective",
    "prefixes",
    "solve",
]

Floats = npt.NDArray[np.float64]

# A column whose part outside the span of the active ones is this share of its norm counts as dependent.
_DEPENDENT = 1e-6
_ROUNDING = 1e-12


class Homotopy(NamedTuple):
    """The exact path: ``events[s]`` happens at ``alphas[s]``: j enters, or, as -1 - j, leaves.

    ``coefs[:, s]`` belong to ``alphas[s]``; between two knots the coefficients are linear in alpha.
    """

    alphas: Floats
    events: npt.NDArray[np.int64]
    coefs: Floats


def alpha_max(x: Floats, y: Floats) -> float:
    """The smallest alpha with solution 0."""
    return float(np.abs(x.T @ y).max() / len(y))


def objective(x: Floats, y: Floats, coef: Floats, alpha: float) -> float:
    """What the Lasso minimises."""
    residual = y - x @ coef
    return float(residual @ residual / (2 * len(y)) + alpha * np.abs(coef).sum())


def dual_point(x: Floats, y: Floats, coef: Floats, alpha: float) -> Floats:
    """The residual, shrunk until ``|X' theta| <= samples * alpha``."""
    residual = y - x @ coef
    largest = np.abs(x.T @ residual).max()
    return residual * min(1.0, len(y) * alpha / largest) if largest > 0 else residual


def gap(x: Floats, y: Floats, coef: Floats, alpha: float) -> float:
    """The objective less the dual objective at `dual_point`: at least the distance to the optimum."""
    theta = dual_point(x, y, coef, alpha)
    dual = (2 * (y @ theta) - theta @ theta) / (2 * len(y))
    return float(objective(x, y, coef, alpha) - dual)


def coordinate_descent(
    x: Floats, y: Floats, alpha: float, *, sweeps: int, start: Floats | None = None
) -> Floats:
    """Cyclic sweeps over all coordinates in order; the coefficient of a zero column is 0."""
    coef = np.zeros(x.shape[1]) if start is None else start.copy()
    squares = (x * x).sum(axis=0)
    coef[squares == 0] = 0
    residual = y - x @ coef
    threshold = len(y) * alpha
    for _ in range(sweeps):
        for j in np.flatnonzero(squares):
            rho = x[:, j] @ residual + squares[j] * coef[j]
            new = np.sign(rho) * max(abs(rho) - threshold, 0.0) / squares[j]
            if new != coef[j]:
                residual -= (new - coef[j]) * x[:, j]
                coef[j] = new
    return coef


def solve(x: Floats, y: Floats, alpha: float, *, tol: float = 1e-10, most_sweeps: int = 100_000) -> Floats:
    """Coefficients whose gap is at most ``tol * ||y||^2 / samples``; zero where alpha >= alpha_max."""
    coef = np.zeros(x.shape[1])
    if alpha >= alpha_max(x, y):
        return coef
    for _ in range(0, most_sweeps, 10):
        if gap(x, y, coef, alpha) <= tol * (y @ y) / len(y):
            return coef
        coef = coordinate_descent(x, y, alpha, sweeps=10, start=coef)
    raise ArithmeticError(f"no solution within {most_sweeps} sweeps")


def homotopy(x: Floats, y: Floats, *, most_steps: int) -> Homotopy:
    """LARS with the Lasso's drops (Osborne, Presnell, Turlach 2000; Efron et al. 2004).

    Of several columns that reach the bound together the lowest enters first, at the same alpha the others
    follow; a column that depends linearly on the active ones stays out until one of them leaves; a zero
    column never enters. A path that comes to alpha = 0 ends there.
    """
    samples, features = x.shape
    correlations = x.T @ y
    bound = np.abs(correlations).max(initial=0.0)
    scale = bound
    signs = np.zeros(features)
    coef = np.zeros(features)
    alphas, coefs = [bound], [coef]
    events: list[int] = []
    skipped: set[int] = set()
    left = -1
    event: int | None = int(np.argmax(np.abs(correlations) >= bound * (1 - _ROUNDING))) if bound > 0 else None
    while event is not None and len(events) < most_steps:
        if event >= 0:
            active = np.flatnonzero(signs)
            outside = x[:, event] - x[:, active] @ np.linalg.lstsq(x[:, active], x[:, event], rcond=None)[0]
            dependent = np.linalg.norm(outside) <= _DEPENDENT * np.linalg.norm(x[:, event])
            if dependent:
                skipped.add(event)
            else:
                signs[event] = np.sign(x[:, event] @ (y - x @ coef))
            left = -1
        else:
            dependent = False
            left = -1 - event
            signs[left] = 0
            skipped.clear()
        if not dependent:
            events.append(event)
        active = np.flatnonzero(signs)
        direction = np.zeros(features)
        gram = x[:, active].T @ x[:, active]
        direction[active] = np.linalg.solve(gram, signs[active])
        current = x.T @ (y - x @ coef)
        rates = x.T @ (x @ direction)
        step, event = bound, None
        for j in range(features):
            if signs[j] != 0:
                # Towards zero, or off the side of its sign from zero.
                if signs[j] * direction[j] < 0 and abs(coef[j] / direction[j]) < step:
                    step, event = abs(coef[j] / direction[j]), -1 - j
            elif j not in skipped and x[:, j].any():
                for side in (1.0, -1.0):
                    speed = 1.0 - side * rates[j]
                    if speed <= _ROUNDING or (j == left and side * current[j] > 0):
                        continue
                    length = max(bound - side * current[j], 0.0) / speed
                    if length < step - _ROUNDING * scale:
                        step, event = length, j
        bound = bound - step if event is not None else 0.0
        coef = np.zeros(features)
        coef[active] = np.linalg.solve(gram, correlations[active] - bound * signs[active])
        if event is not None and event < 0:
            coef[-1 - event] = 0.0
        if dependent:
            alphas[-1], coefs[-1] = bound, coef
        else:
            alphas.append(bound)
            coefs.append(coef)
    return Homotopy(np.array(alphas) / samples, np.array(events, dtype=np.int64), np.array(coefs).T)


def prefixes(tokens: Floats) -> Iterator[tuple[int, Floats, Floats]]:
    """Position, design and target of each problem: row t on the rows before it, the dimensions as samples."""
    for position in range(1, len(tokens)):
        yield position, tokens[:position].T, tokens[position]
