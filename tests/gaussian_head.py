"""A Gaussian output embedding and Gaussian states, with what a head does on them by dense arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class GaussianHead(NamedTuple):
    embedding: Floats
    mean: Floats
    states: Floats


def gaussian_head(
    spread: float,
    norm2: float,
    seed: int,
    *,
    tokens: int = 4000,
    dimensions: int = 64,
    salient: int = 8,
    positions: int = 1000,
) -> GaussianHead:
    """Rows N(0, I); states N(mean, spread**2 I), with a mean of squared norm ``norm2`` that has ``salient``
    coordinates other than 0."""
    generator = np.random.default_rng([seed, 94])
    embedding = generator.standard_normal((tokens, dimensions))
    mean = np.zeros(dimensions)
    where = generator.choice(dimensions, salient, replace=False)
    mean[where] = generator.choice([-1, 1], salient) * generator.uniform(0.5, 1.5, salient)
    mean *= (norm2 / np.sum(mean**2)) ** 0.5
    return GaussianHead(embedding, mean, mean + spread * generator.standard_normal((positions, dimensions)))


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def jensen_shannon(one: Floats, other: Floats) -> float:
    """Mean over positions of the divergence of two log-probabilities, positions x tokens, in nats."""
    middle = np.logaddexp(one, other) - np.log(2)
    parts = np.exp(one) * (one - middle) + np.exp(other) * (other - middle)
    return float(parts.sum(axis=1).mean() / 2)
