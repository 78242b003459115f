"""Student's intervals over independent texts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["confidence_of", "ratio_interval", "t_interval"]

Floats = npt.NDArray[np.float64]


def confidence_of(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return confidence


def t_interval(values: Floats, confidence: float, degrees: float | None = None) -> tuple[float, float, float]:
    """Mean, and the ends of Student's interval for it; NaN ends for one value.

    ``degrees`` of freedom, one less than values where None.
    """
    from scipy import stats

    confidence_of(confidence)
    mean = float(values.mean())
    if len(values) == 1:
        return mean, math.nan, math.nan
    degrees = len(values) - 1 if degrees is None else degrees
    half = float(stats.t.ppf((1 + confidence) / 2, degrees) * stats.sem(values))
    return mean, mean - half, mean + half


def ratio_interval(
    tops: Floats, bottoms: Floats, confidence: float, degrees: float | None = None
) -> tuple[float, float, float]:
    """Sum of tops over sum of bottoms, one of each for an independent text, and the ends of an interval for
    it: Student's, of the ratio's linearisation; NaN ends for one. ``degrees`` as `t_interval`."""
    mean = float(tops.sum() / bottoms.sum())
    _, low, high = t_interval((tops - mean * bottoms) / bottoms.mean(), confidence, degrees)
    return mean, mean + low, mean + high
