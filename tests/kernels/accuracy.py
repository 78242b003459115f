"""What every accuracy test asks of a result: shared by the tests and by benchmarks/evidence_accuracy.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.kernels.singular_values import SingularValues


def worst_ratio(result: SingularValues, truth: NDArray[Any], uncertainty: Any = 0.0) -> float:
    """Largest |value - truth| over bound + uncertainty; at most 1 where every bound holds."""
    error = np.abs(result.values - truth)
    allowed = result.bounds + np.broadcast_to(uncertainty, error.shape)
    if not np.all(np.isfinite(result.values)) or not np.all(np.isfinite(result.bounds)):
        return float("inf")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0, error / allowed, 0)
    return float(ratio.max())


def assert_within_bounds(result: SingularValues, truth: NDArray[Any], uncertainty: Any = 0.0) -> None:
    assert len(result.values) == len(truth) == len(result.bounds)
    assert result.values.dtype == result.bounds.dtype == np.float64
    assert np.all(np.diff(result.values) <= 0), "values do not descend"
    assert np.all(result.values >= 0)
    ratio = worst_ratio(result, truth, uncertainty)
    assert ratio <= 1, f"a value misses its bound {ratio:.3g} times ({result!r})"
