"""How far average token probabilities are a linear function of the output embedding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.encoding_intake import check_targets, token_mask, values_of_tokens
from lmscope.analyses.intake import matrix, vector
from lmscope.analyses.row_moments import RowMoments, blocks, rows_of
from lmscope.analyses.row_regression import adjusted, principal_components, regress
from lmscope.analyses.slope_sparsity import SlopeSparsity, slope_sparsity

__all__ = ["Encoding", "cosine_with", "fit_token_encoding"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Encoding:
    """``-log_probability`` of tokens as ``embedding @ slope + intercept``, with ``+ bias_slope * bias``.

    Attributes:
        slope: float64, shape (d,); minus the mean state times the head's scale, where logits hardly vary.
        intercept: the mean log normaliser there.
        bias_slope: of the head's bias, minus the scale there; None where there is none or it is constant.
        r2: 1 - residual over total sum of squares of the fitted tokens.
        adjusted_r2: the same of variances: near 0 for rows without a relation to the probabilities.
        residuals: float64, shape (V,), ``log_probability - fitted``; NaN where not fitted.
        fitted: (V,), the log-probability by the regression, of tokens that were not fitted too.
        log_probability: (V,), as given.
        used: bool, shape (V,): the tokens that were fitted.
        tokens: how many they are.
        condition: largest over smallest eigenvalue of the correlation matrix of the regressors (columns of
            the fitted rows, and the bias), without those of one value; Inf for linearly dependent ones.
        ridge: what was added to each of those eigenvalues; 0 for ordinary least squares.
        degrees_of_freedom: of the slopes; fewer than there are with ridge, or dependent columns.
        cosine: of the slope with minus ``hidden_mean``; None where that was not given, or one of them is 0.
        coordinates: the slope in the coordinates of the states that the head reads.
        components: the slope along the principal components of the fitted rows, of largest variance first.
        shuffled: whether the rows were permuted against the probabilities.
    """

    slope: Floats
    intercept: float
    bias_slope: float | None
    r2: float
    adjusted_r2: float
    residuals: Floats
    fitted: Floats
    log_probability: Floats
    used: npt.NDArray[np.bool_]
    tokens: int
    condition: float
    ridge: float
    degrees_of_freedom: float
    cosine: float | None
    coordinates: SlopeSparsity
    components: SlopeSparsity
    shuffled: bool = False

    @property
    def residual_sd(self) -> float:
        """Standard deviation of the residuals, in nats, for as many parameters as were fitted."""
        squares = float(np.square(self.residuals[self.used]).sum())
        return math.sqrt(squares / (self.tokens - 1 - self.degrees_of_freedom))

    def __repr__(self) -> str:
        return (
            f"Encoding(r2={self.r2:.6g}, adjusted_r2={self.adjusted_r2:.6g}, tokens={self.tokens}, "
            f"dimensions={len(self.slope)}{', shuffled' if self.shuffled else ''})"
        )

    def _repr_html_(self) -> str:
        rows = "shuffled rows" if self.shuffled else "rows"
        facts: list[tuple[str, object]] = [
            ("R²", html_repr.number(self.r2)),
            ("adjusted R²", html_repr.number(self.adjusted_r2)),
            ("residual standard deviation, nats", html_repr.number(self.residual_sd)),
            ("cosine of the slope with minus the mean state", html_repr.number(self.cosine)),
            ("intercept, nats", html_repr.number(self.intercept)),
            ("slope of the bias", html_repr.number(self.bias_slope)),
            ("condition number", html_repr.number(self.condition)),
            ("ridge", html_repr.number(self.ridge) if self.ridge else "none"),
        ]
        return html_repr.block(
            f"Token-probability encoding: {self.tokens} {rows} of {len(self.slope)} dimensions",
            html_repr.facts(facts),
            html_repr.line("Contributions over coordinates"),
            html_repr.facts(self.coordinates.facts()),
            html_repr.line("Contributions over principal components"),
            html_repr.facts(self.components.facts()),
        )


def fit_token_encoding(
    embedding: Any,
    log_probability: Any,
    *,
    bias: Any = None,
    hidden_mean: Any = None,
    tokens: Any = None,
    ridge: float | None = None,
    shuffle: int | None = None,
) -> Encoding:
    """Regression of ``-log_probability`` on the rows of an output embedding.

    Ordinary least squares by normal equations: mean and covariance are summed in float64 over blocks of
    8 MB, from rows in whatever precision they are stored, and a second pass makes the residuals. Columns are
    scaled to a variance of 1 first, so that their units change nothing; one of a single value gets a slope of
    0. Where their correlation matrix has a condition number above 1e11, which would leave the contributions
    (slope times spread) fewer than some four digits, ridge of 1e-11 times its largest eigenvalue is added to
    all of them and recorded; of slopes that fit equally well, as there are for linearly dependent columns, it
    gives the one with the least sum of squared contributions.

    The adjusted R2 counts ``sum(e / (e + ridge))`` slopes over the eigenvalues e, and an intercept. With
    ``shuffle``, or rows without any relation to the probabilities, R2 has mean d / (V - 1) and the adjusted
    one 0, whatever V: both are as large as for Gaussian noise (a beta law of d / 2 and (V - d - 1) / 2) where
    no few rows dominate the covariance.

    Args:
        embedding: V x d, numpy array or CPU tensor of float64, float32, float16 or bfloat16: row w gives the
            logit of token w.
        log_probability: shape (V,), natural logarithms of average probabilities, or any other value of each
            token in nats.
        bias: shape (V,), of the head: a regressor of its own. Left out where it is constant.
        hidden_mean: shape (d,), mean of the states that the head reads, for ``cosine``.
        tokens: the tokens to fit: a mask, bool of shape (V,), or ids. None fits all.
        ridge: what to add to the eigenvalues of the correlation matrix; 0 for none whatever the condition;
            None for the rule above.
        shuffle: seed of a permutation of the fitted rows, as a control.

    Raises:
        ValueError: shapes that disagree; NaN or Inf, in a fitted token's log-probability too (named by id: a
            token without a probability must be left out by ``tokens``); d + 2 tokens or fewer; probabilities
            or rows that are all equal; differences whose squares float64 cannot hold; ridge below 0, or 0
            where columns are dependent.
        TypeError: another dtype.
    """
    rows = matrix("embedding", embedding)
    vocabulary, dimensions = rows.shape
    targets = values_of_tokens(log_probability, vocabulary)
    biases = [] if bias is None else [vector("bias", bias, length=vocabulary)]
    mean = None if hidden_mean is None else vector("hidden_mean", hidden_mean, length=dimensions)
    used = token_mask(tokens, vocabulary)
    if ridge is not None and not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be at least 0 and finite, got {ridge}")
    check_targets(targets, used, dimensions)

    ids = np.flatnonzero(used)
    # Row ids[i] meets the value of token values_of[i].
    values_of = ids if shuffle is None else np.random.default_rng([shuffle]).permutation(ids)
    values = np.zeros(vocabulary)
    values[ids] = -targets[values_of]
    moments = RowMoments.of_columns(dimensions + len(biases) + 1)
    for block in blocks(0, vocabulary, moments.mean.size):
        chosen = used[block]
        read = block if chosen.all() else block.start + np.flatnonzero(chosen)
        moments.update(rows_of("embedding", rows, read, *biases, values))
    found = regress(moments, dimensions, ridge)

    of_rows = np.empty(vocabulary)
    for block in blocks(0, vocabulary, dimensions):
        of_rows[block] = rows_of("embedding", rows, block) @ -found.slope
    of_rows -= found.intercept
    if biases and found.extra is not None:
        of_rows -= found.extra * biases[0]
    fitted = of_rows.copy()
    fitted[values_of] = of_rows[ids]
    residuals = np.full(vocabulary, math.nan)
    residuals[ids] = targets[ids] - fitted[ids]
    total = float(np.square(targets[ids] - targets[ids].mean()).sum())
    r2 = 1 - float(np.square(residuals[ids]).sum()) / total
    spread = np.sqrt(np.diagonal(moments.scatter)[:dimensions] / moments.count)
    variances, basis = principal_components(moments, dimensions)
    return Encoding(
        slope=found.slope,
        intercept=found.intercept,
        bias_slope=found.extra,
        r2=r2,
        adjusted_r2=adjusted(r2, moments.count, found.degrees_of_freedom),
        residuals=residuals,
        fitted=fitted,
        log_probability=targets,
        used=used,
        tokens=moments.count,
        condition=found.condition,
        ridge=found.ridge,
        degrees_of_freedom=found.degrees_of_freedom,
        cosine=None if mean is None else cosine_with(found.slope, mean),
        coordinates=slope_sparsity(found.slope, spread, mean),
        components=slope_sparsity(found.slope, np.sqrt(variances), mean, basis),
        shuffled=shuffle is not None,
    )


def cosine_with(slope: Floats, hidden_mean: Floats) -> float | None:
    """With minus the mean state; None where one of them is 0."""
    norms = float(np.linalg.norm(slope) * np.linalg.norm(hidden_mean))
    return float(-slope @ hidden_mean) / norms if norms > 0 else None
