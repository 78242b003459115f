"""How many directions hidden states spread over: coding length, matrix entropy, effective rank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import positive, states

__all__ = ["Entropy", "EntropySettings", "entropy_of_eigenvalues", "prepared_rows", "representation_entropy"]

Floats = npt.NDArray[np.float64]

_ZERO = 1e-12
"""Centred rows shorter than this, in units of what they were before, are rounding."""
_LEAST_EXPONENT = -700.0
"""Whose exponential is still above 0."""
_SHORT = 1e-140
"""Norms below this may have lost digits to squares that underflow."""


class EntropySettings(NamedTuple):
    """epsilon2, center, normalize_rows as in :func:`lmscope.representation_entropy`."""

    epsilon2: float = 0.5
    center: bool = True
    normalize_rows: bool = True


@dataclass(frozen=True, repr=False)
class Entropy:
    """Entropies of n token representations in d dimensions, from the eigenvalues of ``Sigma = Z'Z / n``.

    Attributes:
        coding_length: ``(d + n) / 2 * log det(I + d / epsilon2 * Sigma)``, nats.
        normalized: the same over its maximum ``(d + n) / 2 * d * log(1 + t / epsilon2)`` at
            ``Sigma = t / d * I``, t the trace of Sigma, 1 for normalised rows; above 0, at most ``cap``.
        matrix_entropy: ``-sum p log p`` of the eigenvalues' shares p of the trace, nats.
        effective_rank: ``exp(matrix_entropy)``.
        directions: how many equal eigenvalues would have this ``normalized``; a fraction, as a rule.
        cap: largest ``normalized`` that these tokens can have: min(n, d) equal eigenvalues, min(n - 1, d)
            where centred. 1 with more tokens than dimensions.
        tokens, dimensions: n and d.
        mean_square_norm: t, the mean squared norm of the rows after centring and normalising.
        settings: what it was computed with.
    """

    coding_length: float
    normalized: float
    matrix_entropy: float
    effective_rank: float
    directions: float
    cap: float
    tokens: int
    dimensions: int
    mean_square_norm: float
    settings: EntropySettings

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(normalized={self.normalized:.6g} of at most {self.cap:.6g}, "
            f"effective_rank={self.effective_rank:.6g}, directions={self.directions:.6g}, "
            f"{self.tokens} tokens x {self.dimensions} dimensions)"
        )

    def _repr_html_(self) -> str:
        settings = self.settings
        return html_repr.block(
            f"Entropy of {self.tokens} tokens in {self.dimensions} dimensions",
            html_repr.facts(
                [
                    ("normalised", html_repr.number(self.normalized)),
                    ("at most", html_repr.number(self.cap)),
                    ("directions", html_repr.number(self.directions)),
                    ("effective rank", html_repr.number(self.effective_rank)),
                    ("matrix entropy", f"{html_repr.number(self.matrix_entropy)} nats"),
                    ("coding length", f"{html_repr.number(self.coding_length)} nats"),
                ]
            ),
            html_repr.line(
                f"epsilon² {settings.epsilon2:g}, {'' if settings.center else 'not '}centred, "
                f"rows {'' if settings.normalize_rows else 'not '}normalised."
            ),
        )


def representation_entropy(
    z: Any, *, epsilon2: float = 0.5, center: bool = True, normalize_rows: bool = True
) -> Entropy:
    """Coding length, matrix entropy and effective rank of hidden states (arXiv 2402.03471).

    The eigenvalues come from the float64 Gram matrix of the smaller side, so that 512 tokens in 2048
    dimensions cost 512 x 512. The value depends on tokens and dimensions even for noise: read it beside
    :func:`lmscope.iid_entropy`.

    Args:
        z: tokens x dimensions, numpy array or torch tensor, float64, float32, float16 or bfloat16.
        epsilon2: squared distortion of the coding length, in units of the squared row norm.
        center: subtract the mean over tokens first.
        normalize_rows: then divide every row by its norm.

    Raises:
        ValueError: not 2-D, NaN/Inf (named with row and column), one token or equal tokens while centring, or
            a row that is zero where it must be normalised (named).
        TypeError: another dtype.
    """
    from lmscope.kernels.singular_values import singular_values

    settings = EntropySettings(positive("epsilon2", epsilon2), bool(center), bool(normalize_rows))
    rows = states("z", z)
    mean = _mean(rows) if settings.center else None
    rows = prepared_rows("z", rows, mean, settings.normalize_rows)
    values = singular_values(rows, method="gram").values
    tokens, dimensions = rows.shape
    with np.errstate(over="ignore"):
        eigenvalues = values**2 / tokens
    return entropy_of_eigenvalues(eigenvalues, tokens, dimensions, settings)


def _mean(rows: Floats) -> Floats:
    if len(rows) == 1:
        raise ValueError("z holds one token, and one token less the mean is zero: give more, or center=False")
    if (rows == rows[0]).all():
        raise ValueError(f"z holds {len(rows)} equal tokens, and these less their mean are zero")
    mean: Floats = rows.mean(axis=0)
    return mean


def prepared_rows(
    name: str, rows: Floats, mean: Floats | None, normalize_rows: bool, *, first: int = 0
) -> Floats:
    """Rows less the mean, over their norms; ``first`` is the number that errors call the first row by."""
    before = _norms(rows)
    if mean is not None:
        rows = rows - mean
        before += _norms(mean[None])
    if not normalize_rows:
        return rows
    norms = _norms(rows)
    zero = norms <= _ZERO * before
    if zero.any():
        row = first + int(np.argmax(zero))
        less = "" if mean is None else " less the mean"
        raise ValueError(f"row {row} of {name}{less} is zero and cannot be normalised")
    unit: Floats = rows / norms[:, None]
    return unit


def _norms(rows: Floats) -> Floats:
    """Of each row, scaled by a power of two where squares leave the range of float64."""
    with np.errstate(over="ignore"):
        norms: Floats = np.linalg.norm(rows, axis=1)
    far = ~((norms > _SHORT) & (norms < np.inf))
    if far.any():
        exponents = np.frexp(np.abs(rows[far]).max(axis=1))[1]
        norms[far] = np.ldexp(np.linalg.norm(np.ldexp(rows[far], -exponents[:, None]), axis=1), exponents)
    return norms


def entropy_of_eigenvalues(
    eigenvalues: Floats, tokens: int, dimensions: int, settings: EntropySettings
) -> Entropy:
    """Of ``Sigma = Z'Z / n``; those that are missing up to ``dimensions`` are zero, and so is rounding."""
    eigenvalues = np.maximum(eigenvalues, 0)
    with np.errstate(over="ignore"):
        trace = float(eigenvalues.sum())
    if not math.isfinite(trace):
        raise ValueError("the squared norms of z leave the range of float64: divide z by a power of two")
    if trace == 0:
        raise ValueError("all rows of z are zero, and so have no directions")
    nonzero = eigenvalues[
        eigenvalues > min(tokens, dimensions) * np.finfo(np.float64).eps * eigenvalues.max()
    ]
    # In logarithms, as a tiny epsilon2 makes the quotients overflow.
    scale = math.log(dimensions) - math.log(settings.epsilon2)
    log_determinant = float(_log1p_exp(np.log(nonzero) + scale).sum())
    scaled_trace = math.log(trace) + scale
    largest = dimensions * float(_log1p_exp(scaled_trace - math.log(dimensions)))
    shares = nonzero / trace
    matrix_entropy = max(0.0, float(-(shares * np.log(shares)).sum()))
    rank = min(tokens - settings.center, dimensions)
    return Entropy(
        coding_length=(dimensions + tokens) / 2 * log_determinant,
        normalized=log_determinant / largest,
        matrix_entropy=matrix_entropy,
        effective_rank=math.exp(matrix_entropy),
        directions=_directions(log_determinant, dimensions, scaled_trace),
        cap=rank * float(_log1p_exp(scaled_trace - math.log(rank))) / largest,
        tokens=tokens,
        dimensions=dimensions,
        mean_square_norm=trace,
        settings=settings,
    )


def _log1p_exp(logarithm: Any) -> Any:
    return np.logaddexp(0.0, logarithm)


def _directions(log_determinant: float, dimensions: int, scaled_trace: float) -> float:
    """r with ``r * log(1 + e^scaled_trace / r) = log_determinant``, which grows with r."""
    from scipy.optimize import brentq

    def excess(r: float) -> float:
        return r * float(_log1p_exp(scaled_trace - math.log(r))) - log_determinant

    if excess(dimensions) <= 0:
        return float(dimensions)
    # log(1 + x) <= sqrt(x), so that no smaller r can do.
    least = (1 - 1e-9) * math.exp(max(2 * math.log(log_determinant) - scaled_trace, _LEAST_EXPONENT))
    return float(brentq(excess, least, dimensions, xtol=1e-12, rtol=1e-14))
