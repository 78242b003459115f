"""Directions along which a row of the head is moved."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.steering_error import SteeringError

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding
    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages

__all__ = ["ALLOCATIONS", "Allocation", "direction_of"]

Floats = npt.NDArray[np.float64]
Allocation = Literal["even", "minimum_norm", "sparse"]
ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)

# Of the mean variance of the states' coordinates.
_RIDGE = 0.1
# Of the root mean square of the states: less than this is rounding.
_ROUNDING = 1e-12


def direction_of(
    head: OutputHead,
    averages: TokenAverages,
    encoding: Encoding | None,
    allocation: Allocation,
    coordinates: int | None = None,
) -> Floats:
    """u of ``E_w' = E_w - t u``, shape (dimensions,): a step of t adds ``-scale * t * (u . h)`` to the logit.

    ``"minimum_norm"``: ``A / |A|**2``, A the slope of the encoding (fitted here where None is given): the
    shortest u with ``A . u = 1``, by which the regression says that t is the change of the token's log mean
    probability. ``"sparse"``: the same on the ``coordinates`` largest of ``|A|``, a tenth of all by default,
    and 0 elsewhere.

    ``"even"``, this library's own: what t does to the logit should be the same at every position. Then the
    probabilities change by one factor, saturation apart, whatever text they are of. u minimises the variance
    of ``u . h`` over the fitting positions, plus a tenth of their coordinates' mean variance times
    ``|u|**2``, where the logit changes by t on average: ``-scale * (u . mean(h)) = 1``. It needs no slope.

    Raises:
        SteeringError: an unknown allocation, ``coordinates`` that is no whole number, out of range or with
            another allocation than ``"sparse"``, a slope of 0, a mean state that is 0 up to rounding.
    """
    if allocation not in ALLOCATIONS:
        raise SteeringError(
            f"allocation: {allocation!r} is none of {', '.join(repr(name) for name in ALLOCATIONS)}"
        )
    dimensions = head.dimensions
    if coordinates is not None and allocation != "sparse":
        raise SteeringError(f"coordinates: {allocation!r} moves all of them; only 'sparse' takes a number")
    if coordinates is not None:
        try:
            coordinates = operator.index(coordinates)
        except TypeError:
            raise SteeringError(f"coordinates must be a whole number, got {coordinates!r}") from None
        if not 1 <= coordinates <= dimensions:
            raise SteeringError(f"coordinates must be from 1 to {dimensions}, got {coordinates}")
    if allocation == "even":
        return _even(averages, head.scale)
    slope = (fitted(head, averages) if encoding is None else encoding).slope
    if len(slope) != dimensions:
        raise SteeringError(f"the encoding has {len(slope)} dimensions, the head {dimensions}")
    if not slope.any():
        raise SteeringError("the slope of the encoding is 0: no direction changes the probabilities by it")
    if allocation == "minimum_norm":
        return np.asarray(slope / (slope @ slope), dtype=np.float64)
    kept = np.argsort(-np.abs(slope), kind="stable")[: coordinates or max(1, dimensions // 10)]
    direction = np.zeros(dimensions)
    direction[kept] = slope[kept] / (slope[kept] @ slope[kept])
    return direction


def fitted(head: OutputHead, averages: TokenAverages) -> Encoding:
    """The encoding of all tokens of a head."""
    from lmscope.analyses.token_encoding import fit_token_encoding

    return fit_token_encoding(
        head.weight.detach().cpu(),
        averages.log_probability,
        bias=None if head.bias is None else head.bias.detach().double().cpu().numpy(),
        hidden_mean=averages.hidden_mean,
    )


def _even(averages: TokenAverages, scale: float) -> Floats:
    from scipy.linalg import solve

    mean, covariance = averages.hidden_mean, averages.hidden_covariance
    if covariance is None:
        raise SteeringError("averages: 'even' needs the covariance of the states, which was left out")
    length, spread = float(np.linalg.norm(mean)), math.sqrt(float(np.trace(covariance)))
    if length <= _ROUNDING * math.hypot(length, spread):
        raise SteeringError(
            f"the mean state is 0 up to rounding, {length:.2g} beside a root mean square of {spread:.2g}: no "
            "direction changes a logit on average; 'minimum_norm' needs no mean"
        )
    if spread <= _ROUNDING * length:
        # States that are all equal: any direction is even, and this one is the shortest.
        return np.asarray(-mean / (scale * (mean @ mean)), dtype=np.float64)
    ridged = covariance + _RIDGE * spread**2 / len(mean) * np.eye(len(mean))
    raw = solve(ridged, mean, assume_a="pos")
    return np.asarray(-raw / (scale * (raw @ mean)), dtype=np.float64)
