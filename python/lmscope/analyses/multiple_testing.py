"""Many tests at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """q-values: the smallest false-discovery rate at which each test is called (Benjamini and Hochberg 1995,
    step-up).

    `p_values` is one-dimensional in [0, 1]; NaN marks a test that was not made: it stays NaN and does not
    count as a test. Returns float64 of the same length; a test is called at rate r where q <= r. ValueError
    outside [0, 1] or for more dimensions.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p_values must be one-dimensional, got shape {p.shape}")
    made = np.flatnonzero(~np.isnan(p))
    if np.any((p[made] < 0) | (p[made] > 1)):
        raise ValueError("p_values must lie in [0, 1]")
    q = np.full(p.shape, np.nan)
    order = made[np.argsort(p[made], kind="stable")]
    scaled = p[order] * made.size / np.arange(1, made.size + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
