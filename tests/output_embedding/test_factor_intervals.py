"""How often the interval of a realised factor holds the factor of the whole text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmscope.output_embedding.realised import effect


def positions(rng: Any, windows: int, spread: float) -> Any:
    """Log-probabilities that differ between windows and within, and changes that go along with both."""
    between = spread * rng.standard_normal((windows, 1))
    within = 2 * spread * rng.standard_normal((windows, 64))
    change = 1.5 + 0.2 * rng.standard_normal((windows, 1)) + 0.1 * within
    log_probability = np.minimum(-7 + between + within, -0.01).reshape(-1, 1)
    log_others = np.log(-np.expm1(log_probability[:, 0]))
    return log_probability, log_others, change.reshape(-1, 1), np.repeat(np.arange(windows), 64)


@pytest.mark.parametrize(("windows", "spread", "least"), [(32, 0.5, 0.92), (32, 1.0, 0.87), (8, 0.5, 0.90)])
def test_intervals_cover(windows: int, spread: float, least: float) -> None:
    rng = np.random.default_rng(8)
    true = effect(*positions(rng, 20000, spread)).factor[0]
    covered = []
    for _ in range(400):
        found = effect(*positions(rng, windows, spread))
        if np.isfinite(found.low[0]):
            covered.append(found.low[0] <= true <= found.high[0])
    assert len(covered) > 200
    assert least <= np.mean(covered) <= 0.985
