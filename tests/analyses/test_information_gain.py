"""Gain of a token: its three forms, its chain rule, and the stream that must not drift."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope import InformationGain, SequenceGain, information_gain, sequence_gains

SHAPES = pytest.mark.parametrize(("tokens", "dimensions"), [(6, 40), (60, 12), (20, 20), (1, 5), (0, 5)])


def gaussian(tokens: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, tokens, dimensions]).standard_normal((tokens, dimensions))


def assert_same(found: InformationGain, expected: InformationGain, rtol: float) -> None:
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=rtol, abs=1e-300), name


@SHAPES
@pytest.mark.parametrize("ridge", [1e-3, 0.5, 40.0])
def test_gain_is_ridge_regression_is_leverage(tokens: int, dimensions: int, ridge: float) -> None:
    context, new = gaussian(tokens, dimensions), gaussian(1, dimensions, 1)[0]
    found = information_gain(context, new, ridge=ridge)
    gram = ridge * np.eye(dimensions) + context.T @ context
    leverage = new @ np.linalg.solve(gram, new)
    assert found.gain == pytest.approx(math.log1p(leverage), rel=1e-10)
    assert found.gain == pytest.approx(math.log1p(found.ridge_objective / ridge), rel=1e-10)
    grown = np.linalg.slogdet(gram + np.outer(new, new))[1]
    assert found.gain == pytest.approx(grown - np.linalg.slogdet(gram)[1], rel=1e-10)
    weights = np.linalg.solve(context @ context.T + ridge * np.eye(tokens), context @ new)
    residual = np.sum((new - context.T @ weights) ** 2)
    assert found.residual_norm2 == pytest.approx(residual, rel=1e-10)
    assert found.ridge_objective == pytest.approx(residual + ridge * weights @ weights, rel=1e-10)
    assert found.mutual_information == found.gain / 2
    lengths = [
        (dimensions + rows) / 2 * (np.linalg.slogdet(matrix)[1] - dimensions * math.log(ridge))
        for rows, matrix in ((tokens + 1, gram + np.outer(new, new)), (tokens, gram))
    ]
    assert found.coding_length_increment == pytest.approx(lengths[0] - lengths[1], rel=1e-9)


def test_the_five_quantities_differ() -> None:
    found = information_gain(gaussian(10, 6), gaussian(1, 6, 1)[0], ridge=0.5)
    assert len({round(value, 6) for value in vars(found).values()}) == 5
    assert found.residual_norm2 < found.ridge_objective


@pytest.mark.parametrize("ridge", [1e-2, 3.0])
@pytest.mark.parametrize(("tokens", "dimensions"), [(50, 20), (20, 50), (130, 64)])
def test_chain_rule(tokens: int, dimensions: int, ridge: float) -> None:
    z = gaussian(tokens, dimensions)
    total = np.linalg.slogdet(ridge * np.eye(dimensions) + z.T @ z)[1] - dimensions * math.log(ridge)
    gains = sequence_gains(z, ridge=ridge)
    assert gains.shape == (tokens,)
    assert gains.sum() == pytest.approx(total, rel=1e-9)
    stream = SequenceGain(dimensions, ridge)
    found = [stream.add(row) for row in z]
    assert [one.gain for one in found] == pytest.approx(gains.tolist(), rel=1e-9)
    assert stream.total == pytest.approx(total, rel=1e-9)
    assert stream.tokens == tokens
    for position in (0, 1, dimensions - 1, dimensions, tokens - 1):
        if position < tokens:
            assert_same(found[position], information_gain(z[:position], z[position], ridge=ridge), 1e-9)


@given(seed=st.integers(0, 10**6), exponent=st.integers(-6, 2), copies=st.integers(0, 12))
@settings(deadline=None, max_examples=25)
def test_collinear_and_zero_tokens(seed: int, exponent: int, copies: int) -> None:
    z = gaussian(30, 8, seed)
    z[1 : 1 + copies] = z[0] * np.linspace(-2, 2, copies)[:, None]
    z[20] = 0
    ridge = 10.0**exponent
    stream = SequenceGain(8, ridge)
    for position, row in enumerate(z):
        assert_same(
            stream.add(row), information_gain(z[:position], row, ridge=ridge), 1e-12 / min(ridge, 1e-3)
        )
    assert stream.add(z[20]).gain == 0


def test_a_long_stream_does_not_drift() -> None:
    """Thousands of updates of the factor, from an ill-conditioned start: what is left at the end is
    rounding."""
    scales = np.geomspace(1, 1e-3, 16)
    z = gaussian(6000, 16) * scales
    ridge = 1e-4
    stream = SequenceGain(16, ridge)
    for row in z[:-1]:
        stream.add(row)
    assert_same(stream.add(z[-1]), information_gain(z[:-1], z[-1], ridge=ridge), 1e-10)
    total = np.linalg.slogdet(ridge * np.eye(16) + z.T @ z)[1] - 16 * math.log(ridge)
    assert stream.total == pytest.approx(total, rel=1e-11)


@pytest.mark.parametrize("ridge", [1e-8, 1e-12, 1e-20])
def test_few_directions_at_a_small_ridge(ridge: float) -> None:
    """Three directions in 64, past as many tokens as dimensions: the documented error, and the total."""
    z = 30 * gaussian(200, 3) @ gaussian(3, 64)
    stream = SequenceGain(64, ridge)
    found = np.array([stream.add(row).gain for row in z])
    expected = sequence_gains(z, ridge=ridge)
    values = np.linalg.svd(z, compute_uv=False)
    allowed = 2 * np.finfo(np.float64).eps * values[0] / math.sqrt(ridge)
    assert (np.abs(found - expected) <= allowed * expected).all()
    assert stream.total == pytest.approx(np.log1p(values[:3] ** 2 / ridge).sum(), rel=allowed)
    assert stream.add(gaussian(1, 64, 3)[0]).gain > 10


def test_a_ridge_below_rounding_is_refused_and_nothing_is_added() -> None:
    z = gaussian(8, 5)
    stream, other = SequenceGain(5, 1e-8), SequenceGain(5, 1e-8)
    for row in z[:7]:
        stream.add(row)
        other.add(row)
    for far in (1e13, 1e200):
        with pytest.raises(ValueError, match=r"ridge must be at least .* lost in rounding, got 1e-08"):
            stream.add(z[7] * far)
    assert stream.tokens == 7
    assert stream.add(z[7]) == other.add(z[7])


def test_dtypes() -> None:
    context, new = gaussian(9, 5).astype(ml_dtypes.bfloat16), gaussian(1, 5, 1)[0].astype(ml_dtypes.bfloat16)
    expected = information_gain(context.astype(np.float64), new.astype(np.float64), ridge=1)
    assert information_gain(context, new, ridge=1) == expected
    tensors = [torch.from_numpy(one.astype(np.float32)).bfloat16() for one in (context, new)]
    assert information_gain(*tensors, ridge=1) == expected


def test_bad_input() -> None:
    context, new = gaussian(9, 5), gaussian(1, 5)[0]
    with pytest.raises(ValueError, match="ridge must be above 0 and finite, got 0"):
        information_gain(context, new, ridge=0)
    with pytest.raises(ValueError, match="context must have 4 dimensions"):
        information_gain(context, new[:4], ridge=1)
    with pytest.raises(ValueError, match="new must be one-dimensional"):
        information_gain(context, context, ridge=1)
    broken = context.copy()
    broken[7, 2] = np.inf
    with pytest.raises(ValueError, match="context has inf at row 7, column 2"):
        information_gain(broken, new, ridge=1)
    stream = SequenceGain(5, 1)
    stream.add(new)
    with pytest.raises(ValueError, match="token has inf at row 0, column 2"):
        stream.add(broken[7])
    with pytest.raises(ValueError, match=r"token must be of shape \(5,\)"):
        stream.add(new[:3])
    assert stream.tokens == 1
