"""The encoding over random sub-vocabularies of growing size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmscope.analyses.encoding_intake import check_targets, token_mask, values_of_tokens
from lmscope.analyses.intake import matrix, vector, whole
from lmscope.analyses.row_moments import RowMoments, blocks, rows_of
from lmscope.analyses.row_regression import adjusted, regress
from lmscope.analyses.token_encoding import cosine_with

__all__ = ["SizePoint", "encoding_by_size"]


@dataclass(frozen=True)
class SizePoint:
    """The encoding of one random sub-vocabulary.

    Attributes:
        size: tokens in it.
        draw: which random order of the tokens it is the beginning of.
        r2, adjusted_r2: of the regression on its tokens.
        cosine: of the slope with minus the mean state; None without one.
    """

    size: int
    draw: int
    r2: float
    adjusted_r2: float
    cosine: float | None


def encoding_by_size(
    embedding: Any,
    log_probability: Any,
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 5,
    seed: int = 0,
    bias: Any = None,
    hidden_mean: Any = None,
    tokens: Any = None,
    ridge: float | None = None,
) -> list[SizePoint]:
    """:func:`lmscope.fit_token_encoding` over random parts of the vocabulary, by their size.

    Each draw is one random order of the tokens, and its sub-vocabularies are the beginnings of that order:
    nested within a draw, independent between draws. Rows are summed once per draw. All tokens together are
    one sub-vocabulary whatever the order, and a single point, of draw 0.

    A sub-vocabulary keeps the averages that the whole softmax gave: renormalising them at the average adds
    a constant to all logarithms, which the intercept takes. What the curve shows is how many tokens the
    regression needs, and how far its R2 comes from too few. It is not what a model with a smaller output
    space would show, for which the approximation itself, a nearly constant normaliser, should be worse:
    the normaliser here is always that of the whole vocabulary.

    Args:
        embedding, log_probability, bias, hidden_mean, tokens, ridge: as `fit_token_encoding` has them.
        sizes: of the sub-vocabularies; None for 2, 4, 8, ... times the dimensions, and all tokens.
        draws: random orders.
        seed: of the orders.

    Returns:
        Points by draw, and within a draw by size.

    Raises:
        ValueError: as `fit_token_encoding`; a size that is not from d + 3 to the number of tokens.
    """
    rows = matrix("embedding", embedding)
    vocabulary, dimensions = rows.shape
    targets = values_of_tokens(log_probability, vocabulary)
    biases = [] if bias is None else [vector("bias", bias, length=vocabulary)]
    mean = None if hidden_mean is None else vector("hidden_mean", hidden_mean, length=dimensions)
    used = token_mask(tokens, vocabulary)
    check_targets(targets, used, dimensions)
    draws, seed = whole("draws", draws, 1), whole("seed", seed, 0)
    ids, columns = np.flatnonzero(used), [*biases, -targets]
    wanted = _sizes(sizes, dimensions, len(ids))

    points = []
    for draw in range(draws):
        order = np.random.default_rng([seed, draw]).permutation(ids)
        moments = RowMoments.of_columns(dimensions + len(biases) + 1)
        for size in wanted:
            if size == len(ids) and draw:
                continue
            for block in blocks(moments.count, size, moments.mean.size):
                # In ascending order rows are read faster.
                moments.update(rows_of("embedding", rows, np.sort(order[block]), *columns))
            if np.ptp(targets[order[:size]]) == 0:
                raise ValueError(
                    f"log_probability is the same for each of {size} tokens drawn; take larger sizes"
                )
            found = regress(moments, dimensions, ridge)
            points.append(
                SizePoint(
                    size=size,
                    draw=draw,
                    r2=found.r2,
                    adjusted_r2=adjusted(found.r2, size, found.degrees_of_freedom),
                    cosine=None if mean is None else cosine_with(found.slope, mean),
                )
            )
    return points


def _sizes(sizes: Sequence[int] | None, dimensions: int, tokens: int) -> list[int]:
    if sizes is None:
        doubled = [dimensions << power for power in range(1, 40)]
        return [size for size in doubled if dimensions + 2 < size < tokens] + [tokens]
    wanted = sorted({whole("sizes", size, 1) for size in sizes})
    for size in wanted:
        if not dimensions + 2 < size <= tokens:
            raise ValueError(
                f"sizes: {size} is not from {dimensions + 3}, three above the dimensions, to {tokens}, the "
                "tokens there are"
            )
    return wanted
