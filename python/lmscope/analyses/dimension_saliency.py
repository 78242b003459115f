"""How much each dimension of the output embedding has to do with a token's average probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding

__all__ = ["DimensionSaliency", "dimension_saliency"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class DimensionSaliency:
    """How much each dimension says about the average probability of tokens.

    Attributes:
        saliency: float64, shape (dimensions,): what ``by`` says, in nats for a contribution.
        order: int64, shape (dimensions,): dimensions from the least salient to the most; ties in their own
            order.
        by: ``"contribution"`` (magnitude of the slope times the spread of the rows), ``"slope"`` (its
            magnitude) or ``"effect"`` (spread of the rows times the size of the states).
    """

    saliency: npt.NDArray[np.float64]
    order: npt.NDArray[np.int64]
    by: str

    def __repr__(self) -> str:
        return (
            f"DimensionSaliency({len(self.order)} dimensions by {self.by}, "
            f"{self.saliency.min():.4g} to {self.saliency.max():.4g})"
        )

    def _repr_html_(self) -> str:
        most = self.order[::-1][:8]
        rows = [(int(dimension), html_repr.number(float(self.saliency[dimension]))) for dimension in most]
        return html_repr.block(
            f"Saliency of {len(self.order)} dimensions, by {self.by}: the most salient",
            html_repr.table(("dimension", self.by), rows, words=0),
        )


def dimension_saliency(
    encoding: Encoding | None = None,
    *,
    by: Literal["contribution", "slope", "effect"] = "contribution",
    slope: Any = None,
    spread: Any = None,
    state_rms: Any = None,
) -> DimensionSaliency:
    """Saliency of the dimensions of the output embedding, and their order.

    A dimension whose slope is large but along which the rows do not differ tells no token from another, so
    the default weighs the slope by the spread. The slope is of averages: a dimension that means nothing to
    them may still move logits at every position, up at some and down at others. ``"effect"`` is how far,
    from token to token, logits move when the dimension is set to 0.

    Args:
        encoding: of an output embedding; its raw coordinates are ranked.
        by: ``"contribution"``: magnitude of the slope times the standard deviation of the rows;
            ``"slope"``: magnitude of the slope; ``"effect"``: that standard deviation times ``state_rms``.
        slope: instead of an encoding, shape (dimensions,).
        spread: standard deviation of the rows along each dimension, shape (dimensions,), with ``slope``.
        state_rms: root mean square over positions of each dimension of the states, shape (dimensions,), for
            ``"effect"``; their standard deviation where removed dimensions are to be set to their mean.

    Raises:
        ValueError: neither an encoding nor a slope, both, no spread where it is needed, no
            ``state_rms`` for the effect or one for anything else, shapes that differ, values that are not
            finite, a spread or size below 0.
    """
    if by not in ("contribution", "slope", "effect"):
        raise ValueError(f"by: {by!r} is none of 'contribution', 'slope' and 'effect'")
    if (encoding is None) == (slope is None):
        raise ValueError("give either an encoding, or slope= (and spread=)")
    if (by == "effect") != (state_rms is not None):
        raise ValueError("state_rms: needed for by='effect', and for nothing else")
    if encoding is not None:
        if spread is not None:
            raise ValueError("spread: the encoding has one of its own; give it only with slope=")
        slope, spread = encoding.coordinates.slope, encoding.coordinates.spread
    magnitude = np.abs(_finite("slope", slope))
    if by != "slope" and spread is None:
        raise ValueError(f"spread: needed for the {by}; give spread=, or by='slope'")
    if by == "effect":
        magnitude = _size("state_rms", state_rms, magnitude)
    if by != "slope":
        magnitude = magnitude * _size("spread", spread, magnitude)
    return DimensionSaliency(magnitude, np.argsort(magnitude, kind="stable").astype(np.int64), by)


def _finite(name: str, values: Any) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(
            f"{name} must be one-dimensional, a value for each dimension; found {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name}: the value of dimension {place} is not finite: {array[place]}")
    return array


def _size(name: str, values: Any, beside: Floats) -> Floats:
    """As many values as there are dimensions, none below 0."""
    array = _finite(name, values)
    if array.shape != beside.shape:
        raise ValueError(
            f"{name} has shape {list(array.shape)}, the slope {list(beside.shape)}: one value for each "
            "dimension in both"
        )
    if (array < 0).any():
        raise ValueError(f"{name}: {array.min():.4g} is below 0")
    return array
