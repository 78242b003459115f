"""The entropy of hidden states that arrive in blocks, whatever their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import positive, states, vector, whole
from lmscope.analyses.representation_entropy import (
    Entropy,
    EntropySettings,
    entropy_of_eigenvalues,
    prepared_rows,
)

__all__ = ["StreamingEntropy"]

Floats = npt.NDArray[np.float64]


class StreamingEntropy:
    """:func:`lmscope.representation_entropy` of rows that arrive in blocks, in ``8 * dimensions**2`` bytes.

    The order of the blocks does not matter beyond rounding. Settings are those of
    :func:`lmscope.representation_entropy`.

    Args:
        dimensions: of every row.
        mean: float, shape (dimensions,): what centring subtracts, from a first pass over the same rows. Rows
            that are centred and then normalised need it; rows that are centred alone do not, their own mean
            is taken out at the end (which loses as many digits as the squared mean exceeds the variance by).

    Raises:
        ValueError: ``mean`` missing where it is needed, given without centring, or of another shape.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        epsilon2: float = 0.5,
        center: bool = True,
        normalize_rows: bool = True,
        mean: Any = None,
    ) -> None:
        from lmscope.kernels.singular_values import StreamingSingularValues

        dimensions = whole("dimensions", dimensions, 1)
        self._settings = EntropySettings(positive("epsilon2", epsilon2), bool(center), bool(normalize_rows))
        if center and normalize_rows and mean is None:
            raise ValueError(
                "rows that are centred before they are normalised need the mean of all rows beforehand: "
                "give mean=, or center=False, or normalize_rows=False"
            )
        if mean is not None and not center:
            raise ValueError("mean is given, but center=False subtracts none")
        self._mean = None if mean is None else vector("mean", mean, length=dimensions).copy()
        self._sum = np.zeros(dimensions)
        self._stream = StreamingSingularValues(dimensions)

    def update(self, rows: Any) -> None:
        """Add tokens x dimensions; on an error nothing is added.

        Raises:
            ValueError, TypeError: as :func:`lmscope.representation_entropy`; rows are counted from the first
                block on.
        """
        found = states("rows", rows, dimensions=self.dimensions, empty=True)
        if not len(found):
            return
        found = prepared_rows(
            "the stream", found, self._mean, self._settings.normalize_rows, first=self.tokens
        )
        self._stream.update(found)
        self._sum += found.sum(axis=0)

    def merge(self, other: StreamingEntropy) -> None:
        """Add all tokens that ``other`` has seen; ``other`` is unchanged. ValueError where settings or means
        differ."""
        same_mean = self._has_mean_of(other)
        if self._settings != other._settings or not same_mean:
            raise ValueError(
                f"streams of one mean and one set of settings can be merged, got {self._settings} and "
                f"{other._settings}" + ("" if same_mean else ", and two means")
            )
        self._stream.merge(other._stream)
        self._sum += other._sum

    def result(self) -> Entropy:
        """Of all tokens so far; more may follow. ValueError before the first, and for one token centred."""
        settings, tokens = self._settings, self.tokens
        if tokens <= settings.center:
            raise ValueError(f"the stream has seen {tokens} tokens, and one less the mean is zero: add some")
        if settings.center and self._mean is None:
            eigenvalues = self._centred_eigenvalues()
        else:
            with np.errstate(over="ignore"):
                eigenvalues = self._stream.result().values ** 2 / tokens
        return entropy_of_eigenvalues(eigenvalues, tokens, self.dimensions, settings)

    def _centred_eigenvalues(self) -> Floats:
        from scipy.linalg import eigvalsh

        mean = self._sum / self.tokens
        covariance = self._gram() / self.tokens - np.outer(mean, mean)
        values: Floats = eigvalsh(covariance)
        values[values <= self.dimensions * np.finfo(np.float64).eps * (values[-1] + mean @ mean)] = 0
        return values

    def _has_mean_of(self, other: StreamingEntropy) -> bool:
        if self._mean is None or other._mean is None:
            return self._mean is other._mean
        return np.array_equal(self._mean, other._mean)

    def _gram(self) -> Floats:
        state = self._stream.state()
        upper: Floats = np.ldexp(state["triangle"], 2 * state["exponent"])
        gram: Floats = upper + np.triu(upper, 1).T
        return gram

    @property
    def tokens(self) -> int:
        """Seen so far."""
        return self._stream.rows

    @property
    def dimensions(self) -> int:
        return self._stream.columns

    def __repr__(self) -> str:
        return f"StreamingEntropy(dimensions={self.dimensions}, tokens={self.tokens})"

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Stream of hidden states",
            html_repr.facts([("dimensions", self.dimensions), ("tokens so far", self.tokens)]),
        )
