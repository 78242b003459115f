"""What tables tell of weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmscope.spin_glass.losses import contrast_ratio
from lmscope.spin_glass.population import Population

__all__ = ["judged"]


def judged(weights: npt.NDArray[np.float64], limit: Population) -> dict[str, float]:
    """Columns on weights that all tables share."""
    return {
        "loss": limit.loss(weights),
        "contrast": contrast_ratio(weights),
        "diagonal": float(np.diag(weights)[:-1].mean()),
    }
