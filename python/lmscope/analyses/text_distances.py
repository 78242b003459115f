"""How far two texts lie apart: their mean states and the covariances of their states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import positive, states
from lmscope.analyses.representation_entropy import prepared_rows

__all__ = ["TextDistances", "text_distances"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class TextDistances:
    """Four distances of two texts, from their means m and second moments ``Sigma = Z'Z / n``.

    Attributes:
        mean: Euclidean distance of the means.
        frobenius: ``||Sigma_x - Sigma_y||``, Frobenius norm.
        bures_wasserstein: square root of
            ``tr Sigma_x + tr Sigma_y - 2 tr (Sigma_x^1/2 Sigma_y Sigma_x^1/2)^1/2``.
        log_det: ``log det((A + B) / 2) - (log det A + log det B) / 2`` with
            ``A = I + d / epsilon2 * Sigma_x`` and B likewise, nats (Jensen-Bregman log-determinant
            divergence; its square root is a metric).
    """

    mean: float
    frobenius: float
    bures_wasserstein: float
    log_det: float

    def __repr__(self) -> str:
        return (
            f"TextDistances(mean={self.mean:.6g}, frobenius={self.frobenius:.6g}, "
            f"bures_wasserstein={self.bures_wasserstein:.6g}, log_det={self.log_det:.6g})"
        )

    def _repr_html_(self) -> str:
        names = {
            "mean": "of the means",
            "frobenius": "Frobenius",
            "bures_wasserstein": "Bures-Wasserstein",
            "log_det": "log-determinant, nats",
        }
        facts = [(words, html_repr.number(getattr(self, name))) for name, words in names.items()]
        return html_repr.block("Distances of two texts", html_repr.facts(facts))


def text_distances(
    states_x: Any,
    states_y: Any,
    *,
    epsilon2: float = 0.5,
    center: bool = False,
    normalize_rows: bool = True,
) -> TextDistances:
    """Distances of two texts from the hidden states of their tokens.

    The paper (arXiv 2402.03471) names a distance of means and one of covariances without its formula, hence
    three. Texts have fewer tokens than dimensions as a rule, and their covariances no inverse: the identity
    in A and B stands for the distortion of the coding length, and the divergence is what one code for both
    texts costs above a code for each, per half token. Everything is computed in the span of both texts.

    Args:
        states_x, states_y: tokens x dimensions each, numpy arrays or torch tensors, float64, float32, float16
            or bfloat16.
        epsilon2: of the log-determinant divergence, as in :func:`lmscope.representation_entropy`.
        center: take each text's own mean out of its covariance, before rows are normalised. The means
            are those of the rows normalised as asked, never centred.
        normalize_rows: divide every row by its norm.

    Raises:
        ValueError: shapes that do not fit, NaN/Inf (named with row and column), a row that is zero where it
            must be normalised, or epsilon2 out of range.
        TypeError: another dtype.
    """
    epsilon2 = positive("epsilon2", epsilon2)
    x = states("states_x", states_x)
    y = states("states_y", states_y, dimensions=x.shape[1])
    dimensions = x.shape[1]
    means, moments = [], []
    for name, rows in (("states_x", x), ("states_y", y)):
        means.append(prepared_rows(name, rows, None, normalize_rows).mean(axis=0))
        mean = rows.mean(axis=0) if center else None
        moments.append(prepared_rows(name, rows, mean, normalize_rows) / np.sqrt(len(rows)))
    if len(x) + len(y) < dimensions:
        # Coordinates in an orthonormal basis of both, in which all products are the same.
        moments = np.split(_triangle(np.vstack(moments).T).T, [len(x)])
    a, b = moments
    first, second = a.T @ a, b.T @ b
    # tr (Sigma_x^1/2 Sigma_y Sigma_x^1/2)^1/2 is the nuclear norm of any product of square roots.
    roots = [_triangle(moment) for moment in (a, b)]
    overlap = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    apart = float(np.trace(first) + np.trace(second)) - 2 * overlap
    scale = dimensions / epsilon2
    middle, one, other = (
        float(np.linalg.slogdet(np.eye(len(moment)) + scale * moment)[1])
        for moment in ((first + second) / 2, first, second)
    )
    return TextDistances(
        mean=float(np.linalg.norm(means[0] - means[1])),
        frobenius=float(np.linalg.norm(first - second)),
        bures_wasserstein=float(np.sqrt(max(apart, 0.0))),
        log_det=max(middle - (one + other) / 2, 0.0),
    )


def _triangle(rows: Floats) -> Floats:
    """R with R'R = rows' rows; the rows themselves where they are the smaller."""
    from scipy.linalg import qr

    if len(rows) <= rows.shape[1]:
        return rows
    triangle: Floats = qr(rows, mode="r", check_finite=False)[0]
    return triangle[: rows.shape[1]]
