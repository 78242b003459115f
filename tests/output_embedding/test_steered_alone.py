"""Tables of edits, each of one token by one factor; which tokens they are of by default."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lmscope.output_embedding.middle_tokens import middle_tokens
from lmscope.output_embedding.steered_alone import steered_alone
from lmscope.output_embedding.steering import steer_token
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import text_states
from lmscope.representations.token_averages import head_averages

from .heads import FORMULAS, some_head, some_states

FACTORS = (0.05, 0.5, 2.0, 20.0)
TOKENS = [3, 150, 7]


def table(formula: str = "plain", factors: Any = FACTORS, **options: Any) -> Any:
    head, fit, held = some_head(**FORMULAS[formula]), some_states(1), some_states(2)
    averages = head_averages(head, fit.states)
    texts = {"fit": text_states(head, fit, averages), "held_out": held}
    return list(steered_alone(head, fit, averages, None, TOKENS, factors, texts, **options))


@pytest.mark.parametrize("calibrate", [False, True])
@pytest.mark.parametrize(
    ("formula", "allocation"), [("plain", "even"), ("all", "minimum_norm"), ("bias", "sparse")]
)
def test_each_is_the_edit_of_its_token_alone(formula: str, allocation: Any, calibrate: bool) -> None:
    done: list[int] = []
    rows = table(formula, (0.5, 2.0), allocation=allocation, calibrate=calibrate, advance=done.append)
    assert [(row.token, row.factor) for row in rows] == [(t, f) for t in TOKENS for f in (0.5, 2.0)]
    assert done == [1] * 6
    head, fit, held = some_head(**FORMULAS[formula]), some_states(1), some_states(2)
    for row in rows:
        alone = steer_token(head, row.token, row.factor, fit=fit, allocation=allocation, calibrate=calibrate)
        assert row.reason == ""
        assert row.step == pytest.approx(alone.steps[0], rel=1e-9)
        change = np.linalg.norm(alone.rows_after[0] - alone.rows_before[0])
        assert row.edit_norm == pytest.approx(change, rel=1e-9)
        for name, states in (("fit", fit), ("held_out", held)):
            expected, found = alone.realised(states), row.realised[name]
            for field in ("factor", "low", "high", "before", "after", "js", "kl", "others", "others_worst"):
                np.testing.assert_allclose(
                    getattr(found, field), getattr(expected, field), rtol=1e-7, atol=1e-12, err_msg=field
                )


def test_more_edits_than_are_made_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table()
    monkeypatch.setattr("lmscope.output_embedding.steered_alone._AT_ONCE", 1)
    for one, other in zip(whole, table(), strict=True):
        assert one.step == pytest.approx(other.step, rel=1e-12)
        assert one.realised["held_out"].js == pytest.approx(other.realised["held_out"].js, rel=1e-9)


def errors(rows: Any, text: str = "held_out") -> Any:
    return np.array([abs(math.log(row.realised[text].factor[0] / row.factor)) for row in rows])


@pytest.mark.parametrize("calibrate", [False, True])
def test_controls_fail_what_steering_passes(calibrate: bool) -> None:
    factors = (0.5, 2.0)
    assert np.median(errors(table(factors=factors, calibrate=calibrate))) < 0.15
    for control in ("wrong_sign", "random_direction"):
        rows = table(factors=factors, calibrate=calibrate, control=control)
        assert np.median(errors(rows)) > 0.4
        for row, right in zip(rows, table(factors=factors, calibrate=calibrate), strict=True):
            assert row.edit_norm == pytest.approx(right.edit_norm, rel=1e-9)
            assert row.step == right.step


def test_random_directions_are_those_of_the_seed() -> None:
    first, same, other = (
        errors(table(control="random_direction", seed=seed, calibrate=False)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).all()


def test_what_cannot_be_reached_is_a_row_with_its_reason() -> None:
    rows = table(factors=(2.0, 1e6))
    for row in rows[1::2]:
        assert "a probability cannot pass 1" in row.reason
        assert math.isnan(row.step)
        assert math.isnan(row.edit_norm)
        assert row.realised == {}
    for row in rows[::2]:
        assert row.realised["fit"].factor[0] == pytest.approx(2, rel=1e-9)
    assert [row.reason != "" for row in table(factors=(1e6,))] == [True] * 3
    head, fit = some_head(softcap=2.0), some_states(1)
    averages = head_averages(head, fit.states)
    (row,) = steered_alone(head, fit, averages, None, [3], [20.0], {"fit": fit})
    assert "can be multiplied by" in row.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": (0.0,)}, "above 0 and finite"),
        ({"control": "backwards"}, "neither 'wrong_sign' nor 'random_direction'"),
        ({"allocation": "odd"}, "'odd' is none of"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_done(changes: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        table(**changes)


def test_middle_tokens_are_seen_and_neither_frequent_nor_rare() -> None:
    rng = np.random.default_rng(0)
    log_probability = np.sort(rng.normal(-9, 2, 1000))
    counts = rng.integers(0, 8, 1000)
    found = middle_tokens(log_probability, counts, special=[500, 501])
    assert len(found) == 20
    assert (np.diff(found) > 0).all()
    assert (counts[found] >= 3).all()
    assert not {500, 501} & set(found)
    candidates = np.flatnonzero((counts >= 3) & (log_probability < -math.log(40)))
    candidates = candidates[~np.isin(candidates, [500, 501])]
    low, high = np.quantile(log_probability[candidates], [0.24, 0.76])
    assert low < log_probability[found].min()
    assert log_probability[found].max() < high
    np.testing.assert_array_equal(found, middle_tokens(log_probability, counts, special=[500, 501]))
    assert set(found) != set(middle_tokens(log_probability, counts, special=[500, 501], seed=1))


def test_middle_tokens_are_all_there_are_where_there_are_few() -> None:
    log_probability = np.log([0.5, 0.01, 0.001, 1e-4, 1e-5, 0.0 + 1e-6])
    counts = np.array([50, 9, 3, 3, 2, 5])
    np.testing.assert_array_equal(middle_tokens(log_probability, counts), [1, 2, 3, 5])
    np.testing.assert_array_equal(middle_tokens(log_probability, counts, largest_factor=200), [2, 3, 5])
    np.testing.assert_array_equal(middle_tokens(log_probability, counts, count=2), [2, 3])
    with pytest.raises(SteeringError, match="no token occurs 100 times in the fitting text"):
        middle_tokens(log_probability, counts, fewest=100)
    with pytest.raises(ValueError, match="a value for each token"):
        middle_tokens(log_probability, counts[:3])
