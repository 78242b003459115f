"""Which tokens are steered where none are named."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.steering_error import SteeringError

__all__ = ["middle_tokens"]


def middle_tokens(
    log_probability: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    *,
    count: int = 20,
    seed: int = 0,
    special: npt.ArrayLike = (),
    fewest: int = 3,
    largest_factor: float = 20.0,
) -> npt.NDArray[np.int64]:
    """Ids of tokens of middling frequency, ascending; fewer than ``count`` where there are no more.

    Candidates occur at least ``fewest`` times in the fitting text, are not special, and have a mean
    probability below ``1 / (2 * largest_factor)``, so that saturation alone does not keep them from the
    largest factor. Of them the middle half by mean probability is kept (the quarter on either side is left
    out, but never so many that fewer than ``count`` remain), and ``count`` are drawn evenly without
    replacement.

    Args:
        log_probability: log of the mean probability on the fitting text, shape (vocabulary,).
        counts: occurrences in the fitting text, shape (vocabulary,).
        special: ids that are left out.
        largest_factor: that the tokens will be steered by.

    Raises:
        SteeringError: no token occurs often enough, or every one is too probable for the largest factor.
        ValueError: shapes that disagree.
    """
    log_probability, counts = np.asarray(log_probability, dtype=np.float64), np.asarray(counts)
    if log_probability.ndim != 1 or log_probability.shape != counts.shape:
        raise ValueError(
            f"log_probability and counts need a value for each token; found shapes {log_probability.shape} "
            f"and {counts.shape}"
        )
    fits = (counts >= fewest) & np.isfinite(log_probability)
    fits[np.asarray(special, dtype=np.int64)] = False
    if not fits.any():
        raise SteeringError(
            f"no token occurs {fewest} times in the fitting text, special ones aside: give a longer text, or "
            "name the tokens"
        )
    candidates = np.flatnonzero(fits & (log_probability < -np.log(2 * largest_factor)))
    if not len(candidates):
        raise SteeringError(
            f"factor {largest_factor:g} leaves only tokens with a mean probability below "
            f"{1 / (2 * largest_factor):g}, and none that occurs {fewest} times in the fitting text has one: "
            f"ask for a smaller one, at most {np.exp(-log_probability[fits].min()) / 2:.3g} here, or "
            "name the tokens"
        )
    ranked = candidates[np.argsort(log_probability[candidates], kind="stable")]
    spare = min(len(ranked) // 4, max(0, (len(ranked) - count) // 2))
    middle = ranked[spare : len(ranked) - spare]
    drawn = np.random.default_rng([seed, 9]).choice(middle, min(count, len(middle)), replace=False)
    return np.sort(drawn).astype(np.int64)
