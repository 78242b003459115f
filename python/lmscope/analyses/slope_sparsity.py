"""In how few coordinates the slope of an encoding lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr

__all__ = ["SlopeSparsity", "slope_sparsity"]

Floats = npt.NDArray[np.float64]

_HELD = 0.9
_ROUNDING = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class SlopeSparsity:
    """A slope in one set of coordinates, and how it is spread over them.

    A coordinate's *contribution* ``c`` is the standard deviation over the fitted rows of its term in the
    fitted log-probability. With n coordinates of equal contribution ``participation`` is n and ``gini`` 0;
    with a single one they are 1 and 1 - 1/n. All three numbers are 0 where nothing contributes.

    Attributes:
        slope: float64, shape (d,).
        spread: (d,), standard deviation of the fitted rows along each coordinate.
        contribution: (d,), ``abs(slope) * spread``.
        mean_hidden: (d,), mean of the states in these coordinates; None where it was not given.
        participation: ``sum(c**2)**2 / sum(c**4)``, from 1 to d.
        gini: of ``c``, from 0 to 1 - 1/d.
        ninety: the fewest coordinates that hold 90 % of ``sum(c**2)``.
        basis: d x d, column i is coordinate i of these in those of the states; None for those themselves.
    """

    slope: Floats
    spread: Floats
    contribution: Floats
    mean_hidden: Floats | None
    participation: float
    gini: float
    ninety: int
    basis: Floats | None = None

    def __repr__(self) -> str:
        return (
            f"SlopeSparsity({len(self.slope)} coordinates, participation={self.participation:.4g}, "
            f"gini={self.gini:.3g}, ninety={self.ninety})"
        )

    def _repr_html_(self) -> str:
        title = f"Slope over {len(self.slope)} {'coordinates' if self.basis is None else 'components'}"
        return html_repr.block(title, html_repr.facts(self.facts()))

    def facts(self) -> list[tuple[str, object]]:
        """:meta private:"""
        return [
            ("participation", html_repr.number(self.participation)),
            ("Gini coefficient", html_repr.number(self.gini)),
            ("hold 90 % of the squared contributions", self.ninety),
        ]


def slope_sparsity(
    slope: Floats, spread: Floats, mean_hidden: Floats | None, basis: Floats | None = None
) -> SlopeSparsity:
    """Of a slope in the coordinates of the states, or, with ``basis``, turned into its columns'; ``spread``
    is along the coordinates that come out."""
    if basis is not None:
        slope = basis.T @ slope
        mean_hidden = None if mean_hidden is None else basis.T @ mean_hidden
    contribution = np.abs(slope) * spread
    ascending = np.sort(contribution)
    squares = ascending**2
    total, size = float(squares.sum()), len(slope)
    participation, gini, ninety = 0.0, 0.0, 0
    if total > 0:
        participation = total**2 / float((squares**2).sum())
        ranks = np.arange(1, size + 1)
        gini = float((2 * ranks - size - 1) @ ascending) / (size * float(ascending.sum()))
        # A sum that rounding leaves below is enough.
        ninety = int(np.searchsorted(np.cumsum(squares[::-1]), _HELD * total * (1 - _ROUNDING))) + 1
    return SlopeSparsity(slope, spread, contribution, mean_hidden, participation, gini, ninety, basis)
