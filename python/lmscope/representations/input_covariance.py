"""Covariance of what matrices are given when the model reads text, streamed in two passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.passages import StatesError

__all__ = ["InputCovariance", "full_rank_problem", "input_covariances", "passes_over"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class InputCovariance:
    """Covariance of the input of one or several matrices, over all tokens of a text.

    Attributes:
        names: rows of the checkpoint that get this very input, such as query, key and value of a layer.
        covariance: float64, shape (inputs, inputs). Centred: divided by tokens - 1, as numpy.cov; else the
            second moment, divided by tokens. NaN where there is a ``problem``.
        mean: float64, shape (inputs,).
        tokens: how many inputs were seen; of an expert, those that were sent to it.
        effective_sample: tokens over the design effect of windows, at most ``tokens``: how many independent
            tokens would give means of windows that vary as much. The design effect is the variance between
            means of windows times the length of a window, over the variance between tokens, both summed over
            dimensions. None below 8 windows, and where inputs cannot be told apart by windows (experts).
        rank: the most that the covariance can have: the smaller of inputs and tokens (less one if centred).
        centered: whether the mean was taken off.
        problem: why there is no covariance, "" where there is one.
    """

    names: tuple[str, ...]
    covariance: Floats
    mean: Floats
    tokens: int
    effective_sample: float | None
    rank: int
    centered: bool
    problem: str = ""

    @property
    def inputs(self) -> int:
        return len(self.mean)

    def eigenvectors(self) -> tuple[Floats, Floats]:
        """Variances, descending, and the orthonormal directions they belong to, in columns; float64.

        Memory: twice the covariance beside it (LAPACK's dsyevd, on a copy that becomes the directions).
        StatesError where there is a ``problem``.
        """
        from scipy import linalg

        if self.problem:
            raise StatesError(self.problem)
        variances, directions = linalg.eigh(self.covariance, driver="evd", check_finite=False)
        return variances[::-1].copy(), directions[:, ::-1]

    def __repr__(self) -> str:
        of = f"{self.names[0]!r}{f' and {len(self.names) - 1} more' if len(self.names) > 1 else ''}"
        state = self.problem or f"rank at most {self.rank}, {self.tokens} tokens"
        return f"InputCovariance({of}, {self.inputs} inputs, {state})"

    def _repr_html_(self) -> str:
        effective = html_repr.number(self.effective_sample)
        return html_repr.block(
            "Covariance of inputs",
            html_repr.facts(
                [
                    ("matrices", ", ".join(self.names)),
                    ("inputs", self.inputs),
                    ("tokens", f"{self.tokens}, effective {effective}"),
                    ("rank at most", self.rank),
                    ("mean taken off", "yes" if self.centered else "no"),
                ]
            ),
            *([html_repr.line(self.problem)] if self.problem else []),
        )


def full_rank_problem(covariance: InputCovariance) -> str:
    """Why directions of a covariance are arbitrary, with the way out; "" where it can have full rank."""
    if covariance.problem:
        return covariance.problem
    lacking = covariance.inputs - covariance.rank
    if not lacking:
        return ""
    name = covariance.names[0]
    return (
        f"{name}: {covariance.tokens} tokens give a covariance of rank {covariance.rank} at most, but it has "
        f"{covariance.inputs} inputs: directions without variance are arbitrary; give at least {lacking} "
        "tokens more"
    )
