"""Symmetric matrices to time on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.singular_values.matrices import trained_like


def symmetric(order: int, kind: str, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Of one `kind`: "gram" and "gaussian" of independent entries, "trained-like" of `trained_like`."""
    if kind == "gaussian":
        entries = generator.standard_normal((order, order))
        entries += entries.T.copy()
        return entries
    if kind == "trained-like":
        entries = trained_like(order, order, int(generator.integers(2**31))).astype(np.float64)
    else:
        entries = generator.standard_normal((order, order))
    gram = entries @ entries.T
    # Equal to the bit on both sides, whatever library multiplied.
    lower = np.tril(gram, -1)
    found: npt.NDArray[np.float64] = lower + lower.T + np.diag(np.diag(gram))
    return found
