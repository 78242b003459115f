"""Overlap of a matrix' right singular vectors with the directions in which its inputs vary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import matrix, whole
from lmscope.analyses.largest_entry_law import largest_entry_quantile, largest_entry_tail
from lmscope.analyses.unit_vectors import SHORTEST, orthonormal, unit_columns

__all__ = ["ActivationOverlap", "activation_overlap", "overlap_map", "principal_cosines"]

Floats = npt.NDArray[np.float64]

_PRODUCTS = 2**19
_GRAM_TOLERANCE = 1e-4


@dataclass(frozen=True, repr=False, eq=False)
class ActivationOverlap:
    """Overlaps of unit vectors v with orthonormal directions f_1, f_2, ... in descending variance; one value
    per vector.

    Attributes:
        overlap: ``max_j |v . f_j|``; ``max_j v . f_j`` where signed. float64.
        index: that j, from 0, the direction of largest variance. int64.
        p_value: probability of an overlap as large for a v of uniformly random direction; exact.
        null_location: median overlap of a random direction.
        null_low, null_high: it lies below or above them with probability ``false_positive_rate`` together,
            half on each side.
        top: how many directions of largest variance ``top_share`` takes.
        top_share: ``sum_j<top (v . f_j)^2``, in [0, 1]: sees alignment that is spread over several f_j.
        top_location, top_low, top_high: median and band, at the same rate, of its law for a random
            direction, Beta(top / 2, (inputs - top) / 2).
        inputs: number of directions, the length of v.
        signed, false_positive_rate: as given.
    """

    overlap: Floats
    index: npt.NDArray[np.int64]
    p_value: Floats
    null_location: float
    null_low: float
    null_high: float
    top: int
    top_share: Floats
    top_location: float
    top_low: float
    top_high: float
    inputs: int
    signed: bool
    false_positive_rate: float

    def _outside(self) -> tuple[int, int]:
        return (
            int(np.count_nonzero(self.overlap > self.null_high)),
            int(np.count_nonzero(self.top_share > self.top_high)),
        )

    def __repr__(self) -> str:
        above, top_above = self._outside()
        return (
            f"ActivationOverlap({len(self.overlap)} vectors of length {self.inputs}, {above} with an overlap "
            f"above {self.null_high:.3g}, {top_above} with more than {self.top_high:.3g} in the top "
            f"{self.top}, largest {self.overlap.max():.3g})"
        )

    def _repr_html_(self) -> str:
        above, top_above = self._outside()
        number = html_repr.number
        rows = [
            (
                "largest signed product" if self.signed else "largest |product|",
                number(float(np.median(self.overlap))),
                number(self.null_location),
                f"{number(self.null_low)} to {number(self.null_high)}",
                above,
            ),
            (
                f"share in the top {self.top}",
                number(float(np.median(self.top_share))),
                number(self.top_location),
                f"{number(self.top_low)} to {number(self.top_high)}",
                top_above,
            ),
        ]
        return html_repr.block(
            f"Overlap of {len(self.overlap)} vectors with {self.inputs} directions",
            html_repr.table(("overlap", "median", "random median", "random band", "vectors above"), rows),
            html_repr.line(
                f"A random direction is outside a band with probability {self.false_positive_rate:g}."
            ),
        )


def activation_overlap(
    right: Any,
    eigenvectors: Any,
    *,
    signed: bool = False,
    top: int | None = None,
    false_positive_rate: float = 0.003,
) -> ActivationOverlap:
    """Overlap of each right singular vector with the eigenvectors of the input covariance (v1 Eq. 8 and v3
    Eq. 7 of arXiv 2410.17770, there with signs).

    The null is a direction drawn uniformly from the sphere, whatever the covariance is: bands and p-values
    are exact for it (``lmscope.analyses.largest_entry_law``). An eigenvector's sign is arbitrary, and within
    equal variances so is its direction.

    Args:
        right: inputs x count, unit columns by rank, numpy array or torch CPU tensor. A matrix with fewer rows
            than columns has fewer singular vectors than inputs.
        eigenvectors: inputs x inputs, orthonormal columns by descending variance.
        signed: the largest product itself in place of its absolute value.
        top: directions of largest variance that ``top_share`` counts, below inputs; None: a tenth of them, at
            least 1.
        false_positive_rate: of each band, for one vector, both sides together.

    Products are taken in float64, four million at a time.

    Raises:
        ValueError: shapes that disagree, fewer than 8 inputs, a column of ``right`` whose norm is off 1 by
            more than 1e-5 (named), eigenvectors that are not orthonormal to within 1e-4 a row (root mean
            square, measured on 8 random vectors), ``top`` or the rate out of range.
        TypeError: another dtype, a CUDA tensor, a ``top`` that is no whole number.
    """
    from scipy import stats

    vectors, directions = _checked(right, eigenvectors)
    inputs, count = vectors.shape
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must lie between 0 and 1, got {false_positive_rate}")
    top = max(1, inputs // 10) if top is None else whole("top", top, 1)
    if top >= inputs:
        raise ValueError(f"top must be below the number of inputs, {inputs}, got {top}")
    overlap, top_share = np.empty(count), np.empty(count)
    index = np.empty(count, dtype=np.int64)
    for columns, products in _products(vectors, directions):
        top_share[columns] = np.einsum("ij,ij->i", products[:, :top], products[:, :top])
        if not signed:
            np.abs(products, out=products)
        index[columns] = products.argmax(axis=1)
        overlap[columns] = np.take_along_axis(products, index[columns, None], axis=1)[:, 0]
    levels = (false_positive_rate / 2, 0.5, 1 - false_positive_rate / 2)
    low, location, high = (largest_entry_quantile(level, inputs, signed=signed) for level in levels)
    top_low, top_location, top_high = stats.beta.ppf(levels, top / 2, (inputs - top) / 2).tolist()
    return ActivationOverlap(
        overlap=overlap,
        index=index,
        p_value=largest_entry_tail(overlap, inputs, signed=signed),
        null_location=location,
        null_low=low,
        null_high=high,
        top=top,
        top_share=top_share,
        top_location=top_location,
        top_low=top_low,
        top_high=top_high,
        inputs=inputs,
        signed=bool(signed),
        false_positive_rate=false_positive_rate,
    )


def overlap_map(right: Any, eigenvectors: Any) -> npt.NDArray[np.float32]:
    """All ``|v . f_j|``: count x inputs, float32 (computed in float64), a row for each singular vector.

    Arguments and errors as in :func:`lmscope.activation_overlap`.
    """
    vectors, directions = _checked(right, eigenvectors)
    found = np.empty(vectors.shape[::-1], dtype=np.float32)
    for columns, products in _products(vectors, directions):
        found[columns] = np.abs(products)
    return found


def principal_cosines(vectors: Any, space: Any) -> Floats:
    """Cosines of the principal angles between the spans of two orthonormal bases, descending.

    Args:
        vectors: length x a, orthonormal columns, numpy array or torch CPU tensor.
        space: length x b, likewise.

    Returns:
        min(a, b) values in [0, 1], float64. The mean of their squares is 1 where one span lies in the other,
        and max(a, b) / length on average where one of them is drawn at random.

    Raises:
        ValueError: different lengths, or columns that are not orthonormal (an entry of V' V off by more than
            1e-4).
        TypeError: another dtype or a CUDA tensor.
    """
    bases = []
    for name, given in (("vectors", vectors), ("space", space)):
        basis = np.asarray(matrix(name, given), dtype=np.float64)
        error = float(np.abs(basis.T @ basis - np.eye(basis.shape[1])).max())
        if not error <= _GRAM_TOLERANCE:
            raise ValueError(
                f"{name} must have orthonormal columns: an entry of V' V differs from the identity by "
                f"{error:.2g}, expected at most {_GRAM_TOLERANCE:g}"
            )
        bases.append(basis)
    first, second = bases
    if len(first) != len(second):
        raise ValueError(
            f"vectors and space must have the same length, got shapes {first.shape} and {second.shape}"
        )
    cosines: Floats = np.minimum(np.linalg.svd(first.T @ second, compute_uv=False), 1.0)
    return cosines


def _checked(right: Any, eigenvectors: Any) -> tuple[npt.NDArray[Any], Floats]:
    vectors, directions = matrix("right", right), matrix("eigenvectors", eigenvectors)
    inputs = len(vectors)
    if directions.shape != (inputs, inputs):
        raise ValueError(
            f"eigenvectors must be inputs x inputs and right inputs x count, got shapes {directions.shape} "
            f"and {vectors.shape}"
        )
    if inputs < SHORTEST:
        raise ValueError(f"right must have at least {SHORTEST} inputs, got {inputs}")
    directions = np.asarray(directions, dtype=np.float64)
    orthonormal("eigenvectors", directions)
    return vectors, directions


def _products(vectors: npt.NDArray[Any], directions: Floats) -> Iterator[tuple[slice, Floats]]:
    for columns, rows in unit_columns("right", vectors, _PRODUCTS):
        yield columns, rows @ directions
