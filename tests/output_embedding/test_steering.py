"""Rows of a head moved by chosen factors, against the dense softmax over the edited head."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lmscope.analyses.token_encoding import fit_token_encoding
from lmscope.output_embedding.allocation import ALLOCATIONS, direction_of, fitted
from lmscope.output_embedding.reachable import check_tokens
from lmscope.output_embedding.steering import steer_token, steer_tokens
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import text_states
from lmscope.representations.output_head import OutputHead
from lmscope.representations.token_averages import head_averages

from .heads import FORMULAS, dense_probabilities, some_head, some_states, states_of

TOGETHER = {3: 4.0, 50: 0.1, 120: 2.0, 199: 1.0}


def divergences(before: Any, after: Any) -> tuple[float, float]:
    middle = (before + after) / 2
    js = (before * np.log(before / middle) + after * np.log(after / middle)).sum(1) / 2
    return float(js.mean()), float((before * np.log(before / after)).sum(1).mean())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_what_is_realised_is_what_the_edited_head_gives(formula: str, allocation: Any) -> None:
    head = some_head(**FORMULAS[formula])
    steering = steer_tokens(head, TOGETHER, fit=some_states(1), allocation=allocation, calibrate=False)
    tokens = list(TOGETHER)
    np.testing.assert_array_equal(steering.tokens, tokens)
    np.testing.assert_array_equal(steering.rows_before, head.weight.numpy()[tokens])
    np.testing.assert_allclose(steering.steps, np.log(list(TOGETHER.values())), rtol=1e-15)
    other = some_states(2, positions=300)
    realised = steering.realised(other)
    before = dense_probabilities(head, other.states)
    after = dense_probabilities(head, other.states, dict(zip(tokens, steering.rows_after, strict=True)))
    np.testing.assert_allclose(realised.before, before.mean(0)[tokens], rtol=1e-12)
    np.testing.assert_allclose(realised.after, after.mean(0)[tokens], rtol=1e-12)
    np.testing.assert_allclose(realised.factor, after.mean(0)[tokens] / before.mean(0)[tokens], rtol=1e-12)
    js, kl = divergences(before, after)
    assert realised.js == pytest.approx(js, abs=1e-14, rel=1e-11)
    assert realised.kl == pytest.approx(kl, abs=1e-14, rel=1e-11)
    rest = np.setdiff1d(np.arange(head.vocabulary), tokens)
    changes = np.log(after[:, rest] / before[:, rest])
    np.testing.assert_allclose(changes, np.broadcast_to(changes[:, :1], changes.shape), atol=1e-12)
    assert realised.others == pytest.approx(changes.mean(), abs=1e-13)
    assert realised.others_worst == pytest.approx(changes.flat[np.abs(changes).argmax()], abs=1e-13)
    assert realised.positions == 300


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_calibrated_tokens_have_their_factors_together(formula: str, allocation: Any) -> None:
    head, fit = some_head(**FORMULAS[formula]), some_states(1)
    realised = steer_tokens(head, TOGETHER, fit=fit, allocation=allocation).realised(fit)
    np.testing.assert_allclose(realised.factor, list(TOGETHER.values()), rtol=1e-9)


def test_many_tokens_are_calibrated_together() -> None:
    head, fit = some_head(), some_states(1)
    rng = np.random.default_rng(3)
    factors = {int(token): float(np.exp(rng.normal())) for token in rng.choice(200, 60, replace=False)}
    alone = [steer_token(head, token, factor, fit=fit).steps[0] for token, factor in factors.items()]
    steering = steer_tokens(head, factors, fit=fit)
    np.testing.assert_allclose(steering.realised(fit).factor, list(factors.values()), rtol=1e-9)
    # Together they push each other's probabilities about: the steps alone do not do.
    assert np.abs(steering.steps - alone).max() > 0.05


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("factor", [0.05, 0.5, 2.0, 20.0])
def test_states_that_are_all_equal_saturate_and_nothing_else(factor: float, allocation: Any) -> None:
    head = some_head()
    state = some_states(1).states[:1]
    fit = states_of(state.repeat(40, 1))
    steering = steer_token(head, 7, factor, fit=fit, allocation=allocation, calibrate=False)
    realised = steering.realised(fit)
    mean = dense_probabilities(head, state)[0, 7]
    assert realised.factor[0] == pytest.approx(factor / (1 + (factor - 1) * mean), rel=1e-9)
    assert realised.others == pytest.approx(-math.log(1 + (factor - 1) * mean), abs=1e-9)


def test_minimum_norm_is_the_shortest_along_the_slope_and_sparse_on_its_largest() -> None:
    head, fit = some_head(), some_states(1)
    averages = head_averages(head, fit.states)
    encoding = fitted(head, averages)
    slope = encoding.slope
    shortest = direction_of(head, averages, encoding, "minimum_norm")
    assert slope @ shortest == pytest.approx(1, rel=1e-12)
    assert np.linalg.norm(shortest) == pytest.approx(1 / np.linalg.norm(slope), rel=1e-12)
    sparse = direction_of(head, averages, encoding, "sparse", 3)
    assert slope @ sparse == pytest.approx(1, rel=1e-12)
    np.testing.assert_array_equal(np.flatnonzero(sparse), np.sort(np.argsort(-np.abs(slope))[:3]))
    others = [direction_of(head, averages, given, "sparse") for given in (encoding, None)]
    np.testing.assert_array_equal(*others)
    assert np.count_nonzero(others[0]) == 1
    # Adding to a row what is across the slope changes nothing that the regression sees.
    across = np.random.default_rng(0).standard_normal(12)
    across -= slope * (across @ slope) / (slope @ slope)
    assert slope @ (shortest + across) == pytest.approx(1, rel=1e-12)


def test_even_moves_a_logit_most_alike() -> None:
    head, fit = some_head(scale=0.5), some_states(1)
    averages = head_averages(head, fit.states)
    direction = direction_of(head, averages, None, "even")
    states = fit.states.numpy()
    moves = -head.scale * states @ direction
    assert moves.mean() == pytest.approx(1, rel=1e-12)
    ridge = 0.1 * np.cov(states.T, bias=True).trace() / 12

    def cost(given: Any) -> float:
        made = -head.scale * states @ given
        return float(made.var() + ridge * head.scale**2 * (given @ given)) / made.mean() ** 2

    rng = np.random.default_rng(0)
    for _ in range(200):
        assert cost(direction + 1e-2 * rng.standard_normal(12)) > cost(direction)
    for other in ("minimum_norm", "sparse"):
        assert moves.std() < np.std(states @ direction_of(head, averages, None, other)) * 0.5


def test_even_is_the_most_accurate_on_other_text() -> None:
    """States far from concentrated, along some directions only, as a real model's are."""
    rng = np.random.default_rng(5)
    spreads = np.r_[np.full(4, 1.0), np.full(8, 0.05)]
    mean = np.full(12, 0.6)
    fit, held = (states_of(mean + spreads * rng.standard_normal((2000, 12))) for _ in range(2))
    head = some_head(vocabulary=2000)
    averages = head_averages(head, fit.states)
    text = text_states(head, held)
    errors = {}
    for allocation in ALLOCATIONS:
        found = []
        for token in range(40):
            for factor in (0.2, 5.0):
                steering = steer_token(
                    head, token, factor, fit=fit, averages=averages, allocation=allocation, calibrate=False
                )
                found.append(abs(math.log(steering.realised(text).factor[0] / factor)))
        errors[allocation] = np.median(found)
    assert errors["even"] < 0.02
    assert errors["even"] < min(errors["minimum_norm"], errors["sparse"]) / 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_are_rounded_to_what_the_head_holds(dtype: torch.dtype) -> None:
    head = some_head(dtype=dtype)
    fit = some_states(1)
    steering = steer_tokens(head, {3: 5.0, 9: 0.2}, fit=fit)
    assert str(steering.rows_after.dtype) == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(
        steering.rows_before.astype(np.float64), head.weight.double().numpy()[[3, 9]]
    )
    text = text_states(head, fit)
    weight = head.weight.double()
    wide = OutputHead(weight)
    after = dense_probabilities(wide, fit.states, {3: steering.rows_after[0], 9: steering.rows_after[1]})
    before = dense_probabilities(wide, fit.states)
    expected = (after.mean(0) / before.mean(0))[[3, 9]]
    # The head's own products, and so its normalisers, are rounded too.
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.02, torch.float16: 2e-3}[dtype]
    np.testing.assert_allclose(steering.realised(text).factor, expected, rtol=tolerance)
    np.testing.assert_allclose(steering.realised(text).factor, [5, 0.2], rtol=3 * tolerance)


def test_intervals_need_windows_and_lie_around_the_factor() -> None:
    head, fit, held = some_head(), some_states(1), some_states(2)
    steering = steer_tokens(head, {3: 5.0, 9: 0.2}, fit=fit, allocation="minimum_norm")
    realised = steering.realised(held)
    assert (realised.low < realised.factor).all()
    assert (realised.factor < realised.high).all()
    wider = steering.realised(held, confidence=0.99)
    assert (wider.low < realised.low).all()
    few = steering.realised(held.part(held.unit < 7))
    assert np.isnan(few.low).all()
    assert np.isnan(few.high).all()
    assert np.isfinite(few.factor).all()


HEAD = some_head()


@pytest.mark.parametrize(
    ("factors", "options", "message"),
    [
        ({200: 2.0}, {}, "token 200: the head has rows for tokens 0 to 199"),
        ({-1: 2.0}, {}, "token -1: the head has rows"),
        ({"a": 2.0}, {}, "token 'a': a text needs a model's tokenizer"),
        ({}, {}, "no token is given"),
        ({3: 0.0}, {}, "token 3: a factor must be above 0 and finite, got 0"),
        ({3: -2.0}, {}, "above 0 and finite, got -2"),
        ({3: math.inf}, {}, "above 0 and finite, got inf"),
        ({3: math.nan}, {}, "above 0 and finite, got nan"),
        ({3: "much"}, {}, "a factor must be a number, got 'much'"),
        ({3: 1e6}, {}, r"a probability cannot pass 1: factors below .* \(saturation"),
        ({3: 1e6}, {"calibrate": False}, "a probability cannot pass 1"),
        ({3: 2.0}, {"allocation": "evenly"}, "'evenly' is none of 'even', 'minimum_norm', 'sparse'"),
        ({3: 2.0}, {"coordinates": 3}, "only 'sparse' takes a number"),
        ({3: 2.0}, {"allocation": "sparse", "coordinates": 0}, "from 1 to 12, got 0"),
        ({3: 2.0}, {"allocation": "sparse", "coordinates": 13}, "from 1 to 12, got 13"),
    ],
)
def test_what_cannot_be_steered_is_refused(factors: Any, options: Any, message: str) -> None:
    with pytest.raises(SteeringError, match=message):
        steer_tokens(HEAD, factors, fit=some_states(1), **options)


def test_a_token_in_two_spellings_is_given_twice() -> None:
    with pytest.raises(SteeringError, match="token 3 is given twice"):
        check_tokens(HEAD, [3, 4, 3])


def test_texts_need_a_model_and_states_the_width_of_the_head() -> None:
    with pytest.raises(SteeringError, match="texts need a model"):
        steer_token(HEAD, 3, 2.0, fit=["a text"])
    with pytest.raises(SteeringError, match="states of 11 dimensions, but the head's rows have 12"):
        steer_token(HEAD, 3, 2.0, fit=some_states(1, dimensions=11))
    steering = steer_token(HEAD, 3, 2.0, fit=some_states(1))
    with pytest.raises(SteeringError, match="states of 11 dimensions"):
        steering.realised(some_states(1, dimensions=11))
    averages = head_averages(HEAD, some_states(1).states)
    with pytest.raises(SteeringError, match="averages over 400 positions, but there are states of 100"):
        steer_token(HEAD, 3, 2.0, fit=some_states(1, positions=100), averages=averages)
    with pytest.raises(SteeringError, match="token 3: its row in the head is not the one"):
        steering.realised(some_states(1), head=some_head(5))


def test_a_factor_past_what_a_direction_reaches_says_what_can_be_reached() -> None:
    """Along a direction that raises the logit at half of the positions only."""
    head = OutputHead(torch.zeros((3, 2), dtype=torch.float64))
    fit = states_of(np.tile([[1.0, 0.2], [-0.5, 0.2]], (50, 1)))
    averages = head_averages(head, fit.states)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 2))
    encoding = fit_token_encoding(rows, rows @ [4.0, 0.0] - 3)
    options: dict[str, Any] = {"fit": fit, "averages": averages, "allocation": "minimum_norm"}
    with pytest.raises(SteeringError, match=r"mean probability, 0.333, can be multiplied by 1\.\d+ at most"):
        steer_token(head, 0, 2.0, encoding=encoding, **options)
    steering = steer_token(head, 0, 1.2, encoding=encoding, **options)
    assert steering.realised(fit).factor[0] == pytest.approx(1.2, rel=1e-9)
    with pytest.raises(SteeringError, match="slope of the encoding is 0"):
        steer_token(head, 0, 2.0, encoding=replace(encoding, slope=np.zeros(2)), **options)
    with pytest.raises(SteeringError, match="encoding has 3 dimensions, the head 2"):
        steer_token(head, 0, 2.0, encoding=replace(encoding, slope=np.ones(3)), **options)


def test_a_cap_bounds_what_can_be_reached() -> None:
    head, fit = some_head(softcap=2.0), some_states(1)
    with pytest.raises(
        SteeringError, match=r"token 3: factor 20 cannot be reached .* multiplied by \d"
    ) as error:
        steer_token(head, 3, 20.0, fit=fit)
    most = float(str(error.value).split("multiplied by ")[1].split()[0])
    assert steer_token(head, 3, 0.99 * most, fit=fit).realised(fit).factor[0] == pytest.approx(0.99 * most)
    with pytest.raises(SteeringError, match="cannot be reached"):
        steer_token(head, 3, 1.01 * most, fit=fit)


def test_factors_that_add_up_past_1_are_refused_together() -> None:
    head, fit = some_head(vocabulary=8), some_states(1)
    means = dense_probabilities(head, fit.states).mean(0)
    factors = {token: float(0.6 / means[token]) for token in (0, 1)}
    for token, factor in factors.items():
        steer_token(head, token, factor, fit=fit, calibrate=False)
    with pytest.raises(SteeringError, match=r"of 2 tokens add up to 1\.2, but they cannot pass 1 together"):
        steer_tokens(head, factors, fit=fit)
