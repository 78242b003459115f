"""Where a curve over training steps has made its way, and frequencies in an embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmscope import fit_token_encoding, frequency_encoding
from lmscope.analyses.training_dynamics import Reached, reached, steps_apart


def at(steps: list[int], values: Any, share: float = 0.9) -> float:
    found = reached(steps, values, share)
    assert found is not None
    return found.step


def test_a_line_in_the_logarithm_of_the_step_is_met_exactly() -> None:
    steps = [0, 1, 3, 7, 100, 1000]
    curve = 2 + 5 * np.log1p(steps)
    for share in (0.2, 0.5, 0.9, 1.0):
        assert at(steps, curve, share) == pytest.approx(1001**share - 1)
        assert at(steps, -curve, share) == pytest.approx(1001**share - 1)
    assert reached(steps, curve) == Reached(
        pytest.approx(1001**0.9 - 1), 100, 1000, pytest.approx(curve[0] + 4.5 * np.log(1001))
    )


def test_the_first_crossing_counts() -> None:
    assert at([0, 1, 3, 7], [0, 1.2, 0.5, 1]) == pytest.approx(2**0.75 - 1)
    assert at([0, 10, 20], [5, 4, 1]) == pytest.approx(math.expm1(np.interp(3.6, [1, 4], np.log([11, 21]))))
    assert at([0, 10, 20], [0, 0, 1], share=1) == pytest.approx(20)
    # The wrong way first.
    assert at([0, 1, 3], [0, -4, 1], share=0.5) == pytest.approx(2 ** (1 + 4.5 / 5) - 1)


def test_a_share_of_the_last_value_counts_from_nothing() -> None:
    """An R2 that is at 80 % of its last value from the start needs half of the rest to have 90 %."""
    steps, r2 = [0, 1, 3, 7], [0.4, 0.42, 0.48, 0.5]
    of_last, of_way = reached(steps, r2, of="last"), reached(steps, r2)
    assert of_last == Reached(pytest.approx(2**1.5 - 1), 1, 3, pytest.approx(0.45))
    assert of_way is not None
    assert (of_way.after, of_way.by, of_way.level) == (3, 7, pytest.approx(0.49))
    assert reached(steps, [0.46, 0.3, 0.49, 0.5], of="last") == Reached(0.0, None, 0, pytest.approx(0.45))
    assert reached([100, 200], [0.5, 0.5], of="last") == Reached(100.0, None, 100, pytest.approx(0.45))
    assert reached(steps, [-0.3, -0.2, -0.2, -0.1], of="last") is None
    with pytest.raises(ValueError, match="of must be 'way' or 'last'"):
        reached(steps, r2, of="first")  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [7, 50, 1000, 3000, 143_000])
def test_no_step_is_past_the_last(last: int) -> None:
    for first in (0, 1, 10):
        for values in ([0, 0.3], [0.1, 0.7], [2.3, 0.2]):
            assert first <= at([first, last + 10], values, share=1.0) <= last + 10


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


def points(steps: list[int]) -> list[Reached]:
    """Known to the step."""
    return [Reached(float(step), step, step, 1.0) for step in steps]


def test_steps_apart_counts_doublings_with_students_interval() -> None:
    earlier, later = points([9, 19, 7, 31]), points([39, 159, 15, 255])
    found = steps_apart(earlier, later)
    doublings = [2, 3, 1, 3]
    expected = stats.ttest_1samp(doublings, 0).confidence_interval(0.95)
    assert (found.doublings, found.low, found.high) == pytest.approx((2.25, expected.low, expected.high))
    assert (found.least, found.most) == pytest.approx((2.25, 2.25))
    assert (found.trainings, found.confidence, found.order) == (4, 0.95, "later")
    back = steps_apart(later, earlier)
    assert (back.doublings, back.low, back.high) == pytest.approx((-2.25, -expected.high, -expected.low))
    assert back.order == "earlier"
    one = steps_apart(points([0]), points([1]))
    assert one.doublings == 1
    assert math.isnan(one.low)
    for few in ([], points([3, 4])):
        with pytest.raises(ValueError, match="equally many, at least 1"):
            steps_apart(few, points([1] if few else []))


def test_one_training_has_an_order_between_different_checkpoints_only() -> None:
    def order(earlier: Reached, later: Reached) -> str:
        return steps_apart([earlier], [later]).order

    first, second, third = (
        Reached(20.0, 0, 50, 1.0),
        Reached(90.0, 50, 100, 1.0),
        Reached(0.0, None, 50, 1.0),
    )
    assert order(first, Reached(40.0, 0, 50, 1.0)) == "unknown"
    assert (order(first, second), order(second, first)) == ("later", "earlier")
    assert (order(third, first), order(third, second)) == ("unknown", "later")
    assert order(*[Reached(0.0, None, 0, 1.0)] * 2) == "unknown"


def test_the_interval_holds_every_place_between_the_checkpoints() -> None:
    generator = np.random.default_rng(7)
    after = generator.integers(0, 50, (2, 4))
    by = after + generator.integers(1, 60, (2, 4))
    steps = np.sqrt(after * by)
    sides = [
        [Reached(*one, level=1.0) for one in zip(*of, strict=True)]
        for of in zip(steps, after.tolist(), by.tolist(), strict=True)
    ]
    found = steps_apart(*sides)
    for _ in range(300):
        # Corners and places inside.
        part = generator.beta(0.3, 0.3, after.shape).round(generator.integers(0, 3))
        first, second = np.log2(1 + after + part * (by - after))
        interval = stats.ttest_1samp(second - first, 0).confidence_interval(0.95)
        assert found.low <= interval.low + 1e-12
        assert interval.high - 1e-12 <= found.high


def simulated(
    generator: np.random.Generator,
    steps: list[int],
    trainings: int,
    centre: float,
    *,
    spread: float,
    later: float,
) -> tuple[list[Reached], list[Reached]]:
    """R2 and loss of unlike shapes and with noise, each at 90 % at `centre` times a random factor."""
    r2, loss = [], []
    for _ in range(trainings):
        times = centre * np.exp(spread * generator.standard_normal(2)) * np.array([1, later])
        way = [1 - 0.1 ** (np.asarray(steps) / times[0]), 1 / (1 + 9 * (np.asarray(steps) / times[1]) ** 2)]
        noise = 0.003 * generator.standard_normal((2, len(steps)))
        r2.append(reached(steps, 0.6 * way[0] + noise[0], of="last"))
        loss.append(reached(steps, 3 + 8 * way[1] + noise[1]))
    assert None not in r2
    assert None not in loss
    return r2, loss  # type: ignore[return-value]


LINEAR = list(range(0, 2001, 50))
DOUBLING = [0, *(2**power for power in range(12))]


@pytest.mark.parametrize("steps", [LINEAR, DOUBLING], ids=["linear", "doubling"])
@pytest.mark.parametrize("spread", [0.05, 0.6])
@pytest.mark.parametrize("trainings", [1, 2, 3, 5])
def test_an_order_is_rarely_claimed_where_there_is_none(
    steps: list[int], spread: float, trainings: int
) -> None:
    """Interpolated steps alone claim one often where both are between the same two checkpoints."""
    generator = np.random.default_rng([11, trainings, len(steps), round(100 * spread)])
    for centre in (12.0, 30.0, 150.0):
        claimed = naive = 0
        for _ in range(200):
            sides = simulated(generator, steps, trainings, centre, spread=spread, later=1.0)
            claimed += steps_apart(*sides).order != "unknown"
            if trainings > 1:
                doublings = np.log2([(1 + b.step) / (1 + a.step) for a, b in zip(*sides, strict=True)])
                naive += bool(stats.ttest_1samp(doublings, 0).pvalue < 0.05)
        if trainings > 1:
            assert claimed <= 0.01 * 200
        if (trainings, spread, steps, centre) == (5, 0.05, LINEAR, 12.0):
            assert naive > 0.25 * 200


def test_an_order_that_is_there_is_claimed() -> None:
    generator = np.random.default_rng(12)
    for trainings, later in ((3, 64.0), (5, 16.0)):
        orders = [
            steps_apart(*simulated(generator, DOUBLING, trainings, 6.0, spread=0.2, later=later)).order
            for _ in range(50)
        ]
        assert orders.count("later") >= 45


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
