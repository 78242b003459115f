"""Steering next to probabilities of 0 and 1, and what float64 cannot steer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from lmscope.output_embedding.allocation import direction_of
from lmscope.output_embedding.calibrate import Lever
from lmscope.output_embedding.edited_rows import HeadRows
from lmscope.output_embedding.realised import effect
from lmscope.output_embedding.steered_alone import steered_alone
from lmscope.output_embedding.steering import steer_token, steer_tokens
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import text_states
from lmscope.representations.output_head import OutputHead
from lmscope.representations.token_averages import head_averages

from .heads import some_head, some_states, states_of

LIKELY = [3, 9]


def certain_positions(dtype: torch.dtype, seed: int = 1) -> tuple[OutputHead, Any]:
    """Two tokens with long rows, and states along one of them at a fifth of the positions."""
    head = some_head(dtype=dtype)
    rng = np.random.default_rng(seed)
    states = some_states(seed).states.numpy().copy()
    rows = head.weight.double().numpy()
    for place in range(0, len(states), 5):
        row = rows[LIKELY[place // 5 % 2]]
        states[place] += row * rng.uniform(1.0, 8.0)
    return head, states_of(torch.as_tensor(states).to(dtype))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_probabilities_before_are_those_of_the_heads_own_logits(dtype: torch.dtype, together: bool) -> None:
    head, states = certain_positions(dtype)
    logits = head.logits(states.states).double().numpy()
    dense = log_softmax(logits, axis=1)
    tokens = np.array([3, 50, 9])
    found, others = HeadRows.of(head, tokens).log_probabilities(text_states(head, states), together=together)
    np.testing.assert_allclose(found, dense[:, tokens], atol=1e-9 if dtype == torch.float64 else 1e-5)
    rest = [tokens] if together else tokens[:, None]
    expected = np.stack([logsumexp(np.delete(dense, one, axis=1), axis=1) for one in rest], axis=1)
    assert expected.min() < -30
    # Also where one less the probability has no digit left.
    np.testing.assert_allclose(others, expected, atol=1e-9 if dtype == torch.float64 else 1e-3)
    assert found.max() < 1e-5


@pytest.mark.parametrize("factor", [0.01, 0.05, 0.5, 2.0])
def test_a_token_that_is_certain_somewhere_is_steered_in_bfloat16(factor: float) -> None:
    head, states = certain_positions(torch.bfloat16)
    text = text_states(head, states)
    rows = HeadRows.of(head, np.array(LIKELY))
    # Exact logits beside the head's normalisers give probabilities above 1.
    assert (rows.logits(text) - text.log_normaliser[:, None]).max() > 0.01
    averages = head_averages(head, states.states)
    (alone,) = steered_alone(head, states, averages, None, [3], [factor], {"fit": text})
    edit = steer_token(head, 3, factor, fit=states)
    assert alone.step == pytest.approx(edit.steps[0], rel=1e-9)
    pairs = steer_tokens(head, {3: factor, 9: 0.3}, fit=states)
    for one, realised in (
        (edit, alone.realised["fit"]),
        (edit, edit.realised(text)),
        (pairs, pairs.realised(text)),
    ):
        before = head.logits(states.states).double().numpy()
        change = states.states.double().numpy() @ (one.rows_after.astype(float) - one.rows_before).T
        after = before.copy()
        after[:, one.tokens] += change
        p, q = (np.exp(log_softmax(logits, axis=1)) for logits in (before, after))
        np.testing.assert_allclose(realised.factor, (q.mean(0) / p.mean(0))[one.tokens], rtol=1e-5)
        # The rows are rounded after the calibration, and long states multiply that.
        np.testing.assert_allclose(realised.factor, one.factors, rtol=0.1)
        js = ((p * np.log(2 * p / (p + q))).sum(1) + (q * np.log(2 * q / (p + q))).sum(1)).mean() / 2
        assert realised.js == pytest.approx(js, rel=1e-3)


def rare(logit: float) -> OutputHead:
    head = some_head(bias=1.0)
    assert head.bias is not None
    head.bias[7] = logit
    return head


@pytest.mark.parametrize("bias", [-800.0, -1e9])
@pytest.mark.parametrize("calibrate", [False, True])
def test_a_mean_probability_that_float64_does_not_hold_is_refused(bias: float, calibrate: bool) -> None:
    head, fit = rare(bias), some_states(1)
    averages = head_averages(head, fit.states)
    message = (
        rf"token 7: its mean probability on the fitting text is exp\({averages.log_probability[7]:.6g}\)"
    )
    with pytest.raises(SteeringError, match=message.replace("+", r"\+")):
        steer_token(head, 7, 2.0, fit=fit, averages=averages, calibrate=calibrate)
    (row,) = steered_alone(head, fit, averages, None, [7], [2.0], {"fit": fit}, calibrate=calibrate)
    assert "exp(" in row.reason


def test_factors_and_intervals_of_probabilities_too_small_for_their_squares() -> None:
    rng = np.random.default_rng(5)
    log_probability = rng.normal(-9, 1, (800, 1))
    change = rng.normal(0.5, 0.3, (800, 1))
    units = np.arange(800) // 25
    for lower in (0, 500, 5000):
        lowered = log_probability - lower
        found = effect(lowered, np.log1p(-np.exp(lowered[:, 0])), change, units)
        if lower == 0:
            first = found
        for field in ("factor", "low", "high"):
            np.testing.assert_allclose(getattr(found, field), getattr(first, field), rtol=1e-3)
    assert first.low < first.factor < first.high


@pytest.mark.parametrize("probability", [1e-9, 1e-20, 1e-200])
def test_divergences_of_a_rare_token(probability: float) -> None:
    """To first order in the probability: the rest of the distribution adds nothing to the JS divergence."""
    change = 1.5
    found = effect(
        np.full((40, 1), math.log(probability)),
        np.full(40, math.log1p(-probability)),
        np.full((40, 1), change),
        np.arange(40) // 4,
    )
    grown = math.exp(change)
    assert found.kl == pytest.approx(probability * (grown - 1 - change), rel=1e-7)
    assert found.others == pytest.approx(-probability * (grown - 1), rel=1e-7)
    js = (math.log(2 / (1 + grown)) + grown * math.log(2 / (1 + 1 / grown))) / 2
    assert found.js == pytest.approx(probability * js, rel=1e-7)


def test_a_large_factor_of_a_tiny_probability_is_reached() -> None:
    fit = some_states(1)
    for bias, factor in ((-45.0, 1e18), (-600.0, 1e250)):
        found = steer_token(rare(bias), 7, factor, fit=fit).realised(fit)
        assert found.factor[0] == pytest.approx(factor, rel=1e-9)


def test_states_without_a_mean_have_no_even_direction() -> None:
    head, states = some_head(), some_states(1).states
    centred = states_of(states - states.mean(0))
    averages = head_averages(head, centred.states)
    assert 0 < np.linalg.norm(averages.hidden_mean) < 1e-14
    with pytest.raises(SteeringError, match="mean state is 0 up to rounding"):
        steer_token(head, 3, 2.0, fit=centred)
    assert steer_token(head, 3, 2.0, fit=states_of(states - states.mean(0) + 1e-6)).steps[0] != 0


def test_states_that_are_equal_up_to_rounding_take_the_shortest_even_direction() -> None:
    state = some_states(1).states[0].numpy()
    rng = np.random.default_rng(0)
    equal = state * (1 + 1e-16 * rng.integers(-2, 3, (40, len(state))))
    assert (equal != equal[0]).any()
    averages = head_averages(some_head(), equal)
    mean = averages.hidden_mean
    found = direction_of(some_head(), averages, None, "even")
    np.testing.assert_allclose(found, -mean / (mean @ mean), rtol=1e-12)


def test_a_step_that_misses_its_factor_is_an_error() -> None:
    """Logits so large that what a step adds to them is lost."""
    positions = np.zeros(5)
    lever = Lever(positions + 1e17, positions + 1, positions + math.log(0.1), positions + math.log(0.9), None)
    with pytest.raises(SteeringError, match="no step was found that gives factor 2: the nearest, "):
        lever.step_for(2.0)


def test_raw_values_are_refused_as_such() -> None:
    head, fit = some_head(vocabulary=8), some_states(1)
    for coordinates in (1.5, "3"):
        with pytest.raises(SteeringError, match=f"coordinates must be a whole number, got {coordinates!r}"):
            steer_token(head, 3, 2.0, fit=fit, allocation="sparse", coordinates=coordinates)
    with pytest.raises(SteeringError, match="token 3: a factor of more than 1e308 is too large"):
        steer_token(head, 3, 10**400, fit=fit)
    for calibrate in (False, True):
        with pytest.raises(SteeringError, match="all 8 tokens are given a factor"):
            steer_tokens(head, dict.fromkeys(range(8), 0.9), fit=fit, calibrate=calibrate)
    found = steer_tokens(head, dict.fromkeys(range(7), 0.9), fit=fit).realised(fit)
    np.testing.assert_allclose(found.factor, 0.9, rtol=1e-9)
    other = head_averages(head, some_states(1, positions=100).states)
    with pytest.raises(SteeringError, match="averages over 100 positions, but there are states of 400"):
        steer_token(head, 3, 2.0, fit=text_states(head, fit), averages=other)
