"""Where a curve over training steps has made its way, and frequencies in an embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmscope import fit_token_encoding, frequency_encoding
from lmscope.analyses.training_dynamics import reached, steps_apart


def test_a_line_in_the_logarithm_of_the_step_is_met_exactly() -> None:
    steps = [0, 1, 3, 7, 100, 1000]
    curve = 2 + 5 * np.log1p(steps)
    for share in (0.2, 0.5, 0.9, 1.0):
        assert reached(steps, curve, share) == pytest.approx(1001**share - 1)
        assert reached(steps, -curve, share) == pytest.approx(1001**share - 1)


def test_the_first_crossing_counts() -> None:
    assert reached([0, 1, 3, 7], [0, 1.2, 0.5, 1]) == pytest.approx(2**0.75 - 1)
    assert reached([0, 10, 20], [5, 4, 1]) == pytest.approx(
        math.expm1(np.interp(3.6, [1, 4], np.log([11, 21])))
    )
    assert reached([0, 10, 20], [0, 0, 1], share=1) == pytest.approx(20)
    # The wrong way first.
    assert reached([0, 1, 3], [0, -4, 1], share=0.5) == pytest.approx(2 ** (1 + 4.5 / 5) - 1)


def test_a_curve_that_ends_where_it_began_has_made_no_way() -> None:
    assert reached([0, 1, 2], [3, 5, 3]) is None


@pytest.mark.parametrize(
    ("steps", "values", "share", "message"),
    [
        ([0], [1.0], 0.9, "at least 2, got 1 and 1"),
        ([0, 1], [1.0], 0.9, "got 2 and 1"),
        ([0, 4, 4], [1.0, 2, 3], 0.9, "steps must ascend"),
        ([-1, 4], [1.0, 2], 0.9, "steps must ascend from 0"),
        ([0, 1], [1.0, math.nan], 0.9, "values has nan"),
        ([0, 1], [1.0, 2], 0.0, "share must be above 0"),
    ],
)
def test_refused_curves(steps: list[int], values: list[float], share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reached(steps, values, share)


def test_steps_apart_counts_doublings_with_students_interval() -> None:
    earlier, later = [9, 19, 7, 31], [39, 159, 15, 255]
    found = steps_apart(earlier, later)
    doublings = [2, 3, 1, 3]
    expected = stats.ttest_1samp(doublings, 0).confidence_interval(0.95)
    assert (found.doublings, found.low, found.high) == pytest.approx((2.25, expected.low, expected.high))
    assert (found.trainings, found.confidence) == (4, 0.95)
    back = steps_apart(later, earlier)
    assert (back.doublings, back.low, back.high) == pytest.approx((-2.25, -expected.high, -expected.low))
    one = steps_apart([0.0], [1.0])
    assert one.doublings == 1
    assert math.isnan(one.low)
    for wrong, message in (([1.0], "equally many, got 2 and 1"), ([1.0, -1], "at least 0, got -1")):
        with pytest.raises(ValueError, match=message):
            steps_apart([1.0, 2.0], wrong)


def test_frequencies_are_fitted_where_tokens_occur() -> None:
    generator = np.random.default_rng(3)
    embedding = generator.standard_normal((3000, 5))
    expected = np.exp(embedding @ np.array([1.0, -0.5, 0, 0, 0.3]) + 1)
    counts = generator.poisson(expected)
    found = frequency_encoding(embedding, counts, hidden_mean=[1.0, -0.5, 0, 0, 0.3])
    np.testing.assert_array_equal(found.used, counts > 0)
    np.testing.assert_allclose(np.exp(found.log_probability), counts / counts.sum(), rtol=1e-12)
    same = fit_token_encoding(embedding, found.log_probability, tokens=counts > 0)
    np.testing.assert_array_equal(found.slope, same.slope)
    assert found.r2 > 0.6
    assert found.cosine is not None
    assert found.cosine > 0.99
    assert abs(frequency_encoding(embedding, counts, shuffle=1).adjusted_r2) < 0.02


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.arange(20) - 3, "counts must be at least 0, got -3 for token 0"),
        (np.zeros(20, int), "no token occurs"),
        (np.arange(20) % 5 == 0, "too few"),
        (np.ones(19, int), "must be of shape"),
    ],
)
def test_refused_counts(counts: Any, message: str) -> None:
    embedding = np.random.default_rng(4).standard_normal((20, 4))
    with pytest.raises(ValueError, match=message):
        frequency_encoding(embedding, counts.astype(int))
