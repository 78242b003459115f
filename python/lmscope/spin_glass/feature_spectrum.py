"""Spectra of couplings and of prompts against the Marchenko-Pastur law, by the same fit as for weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import of_shape
from lmscope.kernels.singular_values import singular_values
from lmscope.spin_glass.couplings import Fields

if TYPE_CHECKING:
    from lmscope.analyses.marchenko_pastur import MarchenkoPastur

__all__ = ["CouplingSpectrum", "coupling_spectrum", "token_spectrum"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class CouplingSpectrum:
    """Eigenvalues of a mean of outer products of rows, and what iid rows would have.

    Attributes:
        kind: ``"features"``: of the Gram matrix A, rows are the features of tasks; ``"tokens"``: of X X' / N,
            rows are the tokens of one prompt.
        values: eigenvalues, float64, (min(rows, columns),), descending; those that fewer rows than columns
            force to be 0 are left out.
        fit: of the singular values of the matrix with those rows: its edges are of singular values.
        label_values: eigenvalues of the part of A where the context is the label's, (min(tasks, dimension),),
            descending; empty for tokens.
    """

    kind: Literal["features", "tokens"]
    values: Floats
    fit: MarchenkoPastur
    label_values: Floats

    @property
    def lower_edge(self) -> float:
        """Of eigenvalues; NaN where ``fit.reason`` says why there is no verdict."""
        return self.fit.lower_edge**2 / self.fit.shape[0]

    @property
    def upper_edge(self) -> float:
        """Of eigenvalues; NaN where ``fit.reason`` says why there is no verdict."""
        return self.fit.upper_edge**2 / self.fit.shape[0]

    @property
    def above(self) -> int:
        """Eigenvalues above the upper edge, those of the label row included."""
        return self.fit.n_above

    @property
    def below(self) -> int:
        """Eigenvalues below the lower edge."""
        return self.fit.n_below

    @property
    def label_outliers(self) -> int:
        """Of those above, the ones that the label row has by itself.

        The i-th largest eigenvalue of A is at least the i-th largest of any of its principal parts (Cauchy's
        interlacing): so many of ``above`` are there whatever the other features are.
        """
        return int(np.count_nonzero(self.label_values > self.upper_edge))

    def __repr__(self) -> str:
        rows, columns = self.fit.shape
        if self.fit.reason:
            return f"CouplingSpectrum({self.kind}, {rows} x {columns}: no verdict, {self.fit.reason})"
        label = f", {self.label_outliers} of them the label row's" if len(self.label_values) else ""
        return (
            f"CouplingSpectrum({self.kind}, {rows} x {columns}: {self.above} above {self.upper_edge:.6g}"
            f"{label}, {self.below} below {self.lower_edge:.6g})"
        )

    def _repr_html_(self) -> str:
        label = [("of them the label row's", self.label_outliers)] if len(self.label_values) else []
        return html_repr.block(
            f"Spectrum of {self.kind}, {html_repr.shape(self.fit.shape)}",
            html_repr.facts(
                [
                    ("eigenvalues above the upper edge", self.above),
                    *label,
                    ("upper edge", html_repr.number(self.upper_edge)),
                    ("eigenvalues below the lower edge", self.below),
                    ("lower edge", html_repr.number(self.lower_edge)),
                    ("p-value", html_repr.number(self.fit.p_value)),
                    ("KS distance", html_repr.number(self.fit.ks)),
                ]
            ),
            *([html_repr.line(f"No verdict: {self.fit.reason}.")] if self.fit.reason else []),
        )


def coupling_spectrum(
    fields: Fields, *, false_positive_rate: float = 0.01, seed: int = 0
) -> CouplingSpectrum:
    """Eigenvalues of the Gram matrix A against those of as many rows with iid Gaussian entries.

    This null is not what no learning looks like. The rows, features of tasks, are independent; the entries of
    one row are products of a context and a query: uncorrelated for isotropic tasks, not independent, with
    heavier tails, and the length of a row varies from task to task, which widens the bulk. The label row's
    features (context of the label, mean square (1 + 2 / dimension)(1 + 2 / prompt_length)) are larger than
    the others' (about 1 / dimension): their eigenvalues stand above the bulk and are counted apart.
    ``false_positive_rate`` holds for iid noise, not for features: these pass the edges more often.

    Args:
        fields: of the tasks.
        false_positive_rate: chance that iid Gaussian noise of this shape has a value outside the edges.
        seed: of the draws that calibrate it (:func:`lmscope.fit_marchenko_pastur`).

    Raises:
        ValueError: a rate outside what the draws resolve.
    """
    from lmscope.analyses.marchenko_pastur import fit_marchenko_pastur

    found = fields.feature_values()
    fit = fit_marchenko_pastur(
        found.values * np.sqrt(fields.tasks),
        (fields.tasks, fields.spins),
        false_positive_rate=false_positive_rate,
        seed=seed,
    )
    return CouplingSpectrum("features", np.square(found.values), fit, np.square(fields.label_values().values))


def token_spectrum(
    tokens: npt.ArrayLike, *, false_positive_rate: float = 0.01, seed: int = 0
) -> CouplingSpectrum:
    """Eigenvalues of X X' / N, the second moment of one prompt's N tokens, against iid noise (arXiv
    2408.02288, Fig. S5).

    Isotropic tokens are iid Gaussian: they pass the edges at ``false_positive_rate``. Correlated ones have
    one value far above.

    Args:
        tokens: N x dimension, such as ``prompts.tokens[0]``.
        false_positive_rate: chance that iid Gaussian tokens have a value outside the edges.
        seed: of the draws that calibrate it (:func:`lmscope.fit_marchenko_pastur`).

    Raises:
        ValueError: tokens that are not 2-D, empty or not finite, or a rate outside what the draws resolve.
    """
    from lmscope.analyses.marchenko_pastur import fit_marchenko_pastur

    given = of_shape("tokens", tokens, (None, None), "prompt length x dimension")
    found = singular_values(given)
    fit = fit_marchenko_pastur(found.values, given.shape, false_positive_rate=false_positive_rate, seed=seed)
    return CouplingSpectrum("tokens", np.square(found.values) / len(given), fit, np.empty(0))
