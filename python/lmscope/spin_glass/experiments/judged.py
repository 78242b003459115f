"""What tables tell of weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.losses import contrast_ratio
from lmscope.spin_glass.population import Population
from lmscope.spin_glass.ridge import energy

__all__ = ["judged", "training_loss"]


def judged(weights: npt.NDArray[np.float64], limit: Population) -> dict[str, float]:
    """Columns on weights that all tables share."""
    return {
        "loss": limit.loss(weights),
        "contrast": contrast_ratio(weights),
        "diagonal": float(np.diag(weights)[:-1].mean()),
    }


def training_loss(fields: Fields, weights: npt.NDArray[np.float64]) -> float:
    """Mean squared error on the tasks of the fields; a mean of squares, which rounding may bring below 0."""
    return max(fields.target_power + 2 * float(energy(fields, weights)), 0.0)
