"""What pure noise scores: the entropy of independent Gaussian rows at given tokens and dimensions.

At fixed tokens it falls as dimensions grow, and so imitates a law of size. Every entropy is read beside it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope.analyses.edge_calibration import chi_entries
from lmscope.analyses.intake import positive, whole
from lmscope.analyses.representation_entropy import (
    Entropy,
    EntropySettings,
    entropy_of_eigenvalues,
    representation_entropy,
)

__all__ = ["IidEntropy", "iid_entropy"]

Floats = npt.NDArray[np.float64]

_DRAWN_ENTRIES = 2**22
_DRAWN_PRODUCTS = 2**31
"""Tokens * dimensions, and that times the smaller of both, up to which the rows themselves are drawn."""


@dataclass(frozen=True, repr=False)
class IidEntropy(Entropy):
    """Mean over draws; an :class:`lmscope.Entropy` whose measures are those of noise.

    Attributes:
        draws: how many.
        normalized_error, effective_rank_error: standard errors of the two means; NaN for one draw.
    """

    draws: int
    normalized_error: float
    effective_rank_error: float


def iid_entropy(
    tokens: int,
    dimensions: int,
    *,
    epsilon2: float = 0.5,
    center: bool = True,
    normalize_rows: bool = True,
    mean_square_norm: float = 1.0,
    draws: int = 8,
    seed: int = 0,
) -> IidEntropy:
    """Entropy of independent standard normal rows, centred and normalised as asked.

    Up to ``2**22`` entries (and ``2**31`` products) the rows are drawn. Beyond, the eigenvalues are, from the
    bidiagonal matrix that has the law of a Gaussian one (Dumitriu and Edelman 2002), which costs
    min(tokens, dimensions)^2; rows are then normalised in the mean only, which changes ``normalized`` by less
    than ``4 * (1 - normalized) / dimensions`` (their squared norms scatter by ``2 / dimensions``). Standard
    errors are of chance alone and leave that difference out; no bound is known for that of
    ``effective_rank``.

    Args:
        tokens, dimensions: of the states that it is to be compared with.
        epsilon2, center, normalize_rows: as there.
        mean_square_norm: of the rows, where they are not normalised: that field of the states' entropy.
        draws, seed: the same give the same bits; kept for the process.

    Raises:
        ValueError: an argument out of range, or one token while centring.
    """
    settings = EntropySettings(positive("epsilon2", epsilon2), bool(center), bool(normalize_rows))
    tokens, dimensions = whole("tokens", tokens, 1 + settings.center), whole("dimensions", dimensions, 1)
    scale = positive("mean_square_norm", mean_square_norm)
    if settings.normalize_rows and scale != 1:
        raise ValueError(f"normalised rows have a mean_square_norm of 1, got {mean_square_norm}")
    return _mean_of_draws(
        tokens, dimensions, settings, scale, whole("draws", draws, 1), whole("seed", seed, 0)
    )


@functools.lru_cache(maxsize=512)
def _mean_of_draws(
    tokens: int, dimensions: int, settings: EntropySettings, scale: float, draws: int, seed: int
) -> IidEntropy:
    generator = np.random.default_rng([seed, tokens, dimensions])
    entries = tokens * dimensions
    as_rows = entries <= _DRAWN_ENTRIES and entries * min(tokens, dimensions) <= _DRAWN_PRODUCTS
    draw = _from_rows if as_rows else _from_eigenvalues
    found = list(draw(tokens, dimensions, settings, scale, draws, generator))

    def of_draws(measure: str) -> Floats:
        return np.array([getattr(one, measure) for one in found])

    return IidEntropy(
        coding_length=float(of_draws("coding_length").mean()),
        normalized=float(of_draws("normalized").mean()),
        matrix_entropy=float(of_draws("matrix_entropy").mean()),
        effective_rank=float(of_draws("effective_rank").mean()),
        directions=float(of_draws("directions").mean()),
        cap=found[0].cap,
        tokens=tokens,
        dimensions=dimensions,
        mean_square_norm=scale,
        settings=settings,
        draws=draws,
        normalized_error=_standard_error(of_draws("normalized")),
        effective_rank_error=_standard_error(of_draws("effective_rank")),
    )


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _from_rows(
    tokens: int,
    dimensions: int,
    settings: EntropySettings,
    scale: float,
    draws: int,
    generator: np.random.Generator,
) -> Iterator[Entropy]:
    for _ in range(draws):
        rows = generator.standard_normal((tokens, dimensions))
        if not settings.normalize_rows:
            centred = rows - rows.mean(axis=0) if settings.center else rows
            rows *= math.sqrt(scale * tokens) / np.linalg.norm(centred)
        yield representation_entropy(rows, **settings._asdict())


def _from_eigenvalues(
    tokens: int,
    dimensions: int,
    settings: EntropySettings,
    scale: float,
    draws: int,
    generator: np.random.Generator,
) -> Iterator[Entropy]:
    from scipy.linalg import eigvalsh_tridiagonal

    smaller, larger = sorted((tokens - settings.center, dimensions))
    for _ in range(draws):
        (diagonal,), (beside,) = chi_entries(smaller, larger, 1, generator)
        squares = diagonal**2
        squares[1:] += beside**2
        eigenvalues = np.maximum(eigvalsh_tridiagonal(squares, diagonal[:-1] * beside), 0)
        yield entropy_of_eigenvalues(eigenvalues * (scale / eigenvalues.sum()), tokens, dimensions, settings)
