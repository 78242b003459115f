"""The impact is the weighted mean of paired differences, and its interval covers as often as it says."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmscope import impact_of


def scores(values: Any, weights: Any = None) -> Any:
    weights = np.ones(len(values)) if weights is None else weights
    return SimpleNamespace(values=np.asarray(values, float), weights=np.asarray(weights, float))


def test_equal_weights_give_students_paired_interval() -> None:
    generator = np.random.default_rng(0)
    before, after = generator.standard_normal((2, 9))
    found = impact_of(scores(before), scores(after), harm=1)
    expected = stats.ttest_rel(after, before).confidence_interval()
    assert found.impact == pytest.approx(np.mean(after - before))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.value, found.baseline, found.units) == pytest.approx((after.mean(), before.mean(), 9))


def test_weights_harm_and_energy() -> None:
    weights = [1, 1, 1, 5] * 2
    before, after = scores([1, 2, 3, 4] * 2, weights), scores([2, 2, 3, 6] * 2, weights)
    found = impact_of(before, after, harm=1, energy_share=0.25)
    assert (found.baseline, found.value, found.impact) == pytest.approx((26 / 8, 37 / 8, 11 / 8))
    assert found.per_energy == pytest.approx(5.5)
    better = impact_of(before, after, harm=-1, energy_share=0.0)
    assert (better.impact, better.low, better.high) == pytest.approx((-11 / 8, -found.high, -found.low))
    assert better.per_energy is None
    assert "units=8" in repr(found)
    assert "Impact over 8 units of text" in found._repr_html_()


def test_nothing_changed_and_few_units() -> None:
    same = scores([0.1, 0.7, 0.3, 1 / 3] * 2, [3, 1, 2, 7] * 2)
    found = impact_of(same, same, harm=1)
    assert (found.impact, found.low, found.high) == (0.0, 0.0, 0.0)
    few = impact_of(scores([1, 2, 3]), scores([2, 2, 5]), harm=1)
    assert (few.impact, few.low, few.high) == (1.0, None, None)
    assert repr(few) == "Impact(1 (no interval), baseline=2, units=3)"
    assert "–" in few._repr_html_()
    assert impact_of(scores([1]), scores([2]), harm=1).impact == 1.0
    seven, eight = (impact_of(scores(np.zeros(n)), scores(np.arange(n)), harm=1) for n in (7, 8))
    assert (seven.low, seven.high) == (None, None) != (eight.low, eight.high)
    # One unit has nearly all of the weight.
    weights = [1, 1, 1, 1, 1, 1, 1, 1, 90]
    assert impact_of(scores(np.zeros(9), weights), scores(np.arange(9), weights), harm=1).low is None


@pytest.mark.parametrize(
    ("law", "units", "covered"),
    [
        ("normal", 8, 0.95),
        ("normal", 32, 0.95),
        ("exponential", 8, 0.88),
        ("exponential", 16, 0.9),
        ("exponential", 32, 0.92),
        ("lognormal", 8, 0.83),
        ("lognormal", 16, 0.85),
        ("lognormal", 32, 0.87),
    ],
)
def test_coverage_with_unequal_weights(law: str, units: int, covered: float) -> None:
    """As the documentation has it, within four standard errors and the last digit."""
    generator = np.random.default_rng([units, len(law)])
    mean = {"normal": 0.0, "exponential": 1.0, "lognormal": math.exp(0.5)}[law]
    draw = generator.standard_normal if law == "normal" else getattr(generator, law)
    trials, inside, without = 800, 0, 0
    for _ in range(trials):
        weights = generator.integers(1, 256, size=units).astype(float)
        differences = draw(size=units) - mean
        found = impact_of(scores(np.zeros(units), weights), scores(differences, weights), harm=1)
        if found.low is None or found.high is None:
            without += 1
        else:
            inside += found.low <= 0 <= found.high
    assert without <= 0.02 * trials
    error = math.sqrt(covered * (1 - covered) / trials)
    assert abs(inside / (trials - without) - covered) <= 4 * error + 0.005


def test_what_is_not_paired() -> None:
    one = scores([1, 2, 3])
    for other, options, complaint in [
        (scores([1, 2]), {}, r"need a value and a weight for each of the same units.*\(3,\), \(2,\)"),
        (scores([1, 2, 3], [1, 2, 3]), {}, "have different weights"),
        (scores([1, math.nan, 3]), {}, "lesioned: the value of unit 1 is not finite: nan"),
        (one, {"harm": 0}, "harm must be 1 or -1, got 0"),
        (one, {"energy_share": -0.1}, "energy_share must be at least 0"),
        (one, {"confidence": 1.0}, "confidence must lie between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            impact_of(one, other, **{"harm": 1, **options})
    with pytest.raises(ValueError, match="at least one"):
        impact_of(scores([]), scores([]), harm=1)
    with pytest.raises(ValueError, match="weights must be finite and above 0"):
        impact_of(scores([1, 2], [1, 0]), scores([1, 2], [1, 0]), harm=1)
