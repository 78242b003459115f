"""Steps that give tokens the factors which were asked for, on the fitting text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.realised import normaliser_growth
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import capped

__all__ = ["Lever", "joint_steps"]

Floats = npt.NDArray[np.float64]

# Steps between which a factor is looked for; closely up to the first bound. The largest factor of the least
# mean probability that can be steered is exp(690).
_NEAR = 40.0
_GRID = 97
_FURTHEST = 750.0
_FAR_GRID = 12
_TOLERANCE = 1e-9


@dataclass(frozen=True, repr=False, eq=False)
class Lever:
    """How the mean probability of one token depends on the step, at fixed positions.

    Attributes:
        logits: float64, shape (positions,): scale * (E_w . h + b_w), before the cap.
        pull: float64, shape (positions,): what a step of 1 adds to them, -scale * u . h.
        log_probability: float64, shape (positions,): before the step.
        log_others: float64, shape (positions,): log of the probability of all other tokens.
        softcap: the head's.
    """

    logits: Floats
    pull: Floats
    log_probability: Floats
    log_others: Floats
    softcap: float | None

    @cached_property
    def before(self) -> Floats:
        return capped(self.logits, self.softcap)

    @cached_property
    def mean(self) -> float:
        """Mean probability before."""
        return float(np.exp(self.log_probability).mean())

    @cached_property
    def _log_odds(self) -> Floats:
        return self.log_probability - self.log_others

    def change(self, step: float) -> Floats:
        """Logit after less logit before."""
        return capped(self.logits + step * self.pull, self.softcap) - self.before

    def log_factor(self, step: float) -> float:
        """Log of mean probability after over mean probability before."""
        from scipy.special import expit

        after = float(expit(self._log_odds + self.change(step)).mean())
        return math.log(after) - math.log(self.mean) if after > 0 else -math.inf

    @cached_property
    def _curve(self) -> tuple[Floats, Floats]:
        # Closer together towards 0.
        near = _NEAR * np.linspace(-1, 1, _GRID) ** 3
        far = np.geomspace(_NEAR, _FURTHEST, _FAR_GRID + 1)[1:]
        steps = np.concatenate([-far[::-1], near, far])
        return steps, np.array([self.log_factor(step) for step in steps])

    def step_for(self, factor: float) -> float:
        """The step nearest 0 that gives ``factor``; SteeringError where none does."""
        from scipy.optimize import brentq, minimize_scalar

        sign = 1 if factor > 1 else -1
        wanted = math.log(factor)
        steps, curve = self._curve
        way = steps * sign >= 0
        steps, curve = steps[way][::sign], curve[way][::sign]
        reached = sign * curve >= sign * wanted
        if reached.any():
            end = int(reached.argmax())
            if end == 0:
                return 0.0
            bracket = float(steps[end - 1]), float(steps[end])
        else:
            best = int((sign * curve).argmax())
            around = steps[max(best - 1, 0)], steps[min(best + 1, len(steps) - 1)]
            found = minimize_scalar(
                lambda step: -sign * self.log_factor(step),
                bounds=(min(around), max(around)),
                method="bounded",
            )
            if -found.fun < sign * wanted:
                most = math.exp(sign * -found.fun)
                raise SteeringError(
                    f"factor {factor:g} cannot be reached on the fitting text: along this direction the mean "
                    f"probability, {self.mean:.3g}, can be multiplied by {most:.4g} at "
                    f"{'most' if sign > 0 else 'least'}, by steps up to {_FURTHEST:g}"
                )
            bracket = 0.0, float(found.x)
        # To a relative 1e-14 alone: along a long direction the step is small.
        step = float(
            brentq(
                lambda step: self.log_factor(step) - wanted, *bracket, xtol=1e-300, rtol=1e-14, maxiter=2000
            )
        )
        left = self.log_factor(step) - wanted
        if not abs(left) <= _TOLERANCE:
            raise SteeringError(
                f"no step was found that gives factor {factor:g}: the nearest, {step:.4g}, gives "
                f"{factor * math.exp(left):.6g}"
            )
        return step


def joint_steps(
    levers: list[Lever], log_others: Floats, factors: Floats, tokens: npt.NDArray[np.int64]
) -> Floats:
    """Steps of tokens that are edited together, so that each has its factor; SteeringError where none do.

    ``log_others``: float64, shape (positions,): log of the probability of all tokens but these.
    """
    from scipy.optimize import root

    alone = []
    for token, lever, factor in zip(tokens, levers, factors, strict=True):
        try:
            alone.append(lever.step_for(float(factor)))
        except SteeringError as error:
            raise SteeringError(f"token {token}: {error}") from None
    start = np.array(alone)
    if len(levers) == 1:
        return start
    log_probability = np.stack([lever.log_probability for lever in levers], axis=1)
    wanted = np.log([lever.mean for lever in levers]) + np.log(factors)

    def missing(steps: Floats) -> tuple[Floats, Floats]:
        """How far the log mean probabilities are from the wanted ones, and the derivatives by the steps."""
        change = np.stack([lever.change(step) for lever, step in zip(levers, steps, strict=True)], axis=1)
        growth = normaliser_growth(log_probability, log_others, change)
        after = np.exp(log_probability + change - growth[:, None])
        slopes = np.stack([_slope(lever, step) for lever, step in zip(levers, steps, strict=True)], axis=1)
        sums = after.sum(0)
        derivatives = (np.diag((after * slopes).sum(0)) - after.T @ (after * slopes)) / sums[:, None]
        return np.log(sums / len(after)) - wanted, derivatives

    found = root(missing, start, jac=True, method="hybr", options={"xtol": 1e-13})
    left = missing(found.x)[0]
    if not (np.abs(left) <= _TOLERANCE).all():
        worst = int(np.abs(left).argmax())
        raise SteeringError(
            f"no steps were found that give all {len(levers)} factors together, though each can be reached "
            f"alone: token {tokens[worst]} stays at {factors[worst] * math.exp(left[worst]):.4g} instead of "
            f"{factors[worst]:g}; ask for factors closer to 1, or steer fewer tokens"
        )
    return np.asarray(found.x, dtype=np.float64)


def _slope(lever: Lever, step: float) -> Floats:
    """Derivative of the capped logit by the step."""
    if lever.softcap is None:
        return lever.pull
    slope: Floats = lever.pull * (1 - np.tanh((lever.logits + step * lever.pull) / lever.softcap) ** 2)
    return slope
