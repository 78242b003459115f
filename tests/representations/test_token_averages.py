"""Streamed averages are those of the dense computation, whatever the shape, the head and the dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from lmscope import average_probabilities, head_averages, next_states, output_head

from .models import TEXTS, tiny_model

TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def dense(
    states: Any, weight: Any, bias: Any, scale: float, softcap: float | None, targets: Any
) -> dict[str, Any]:
    """All logits at once, in float64."""
    wide = [None if one is None else np.asarray(one, dtype=np.float64) for one in (states, weight, bias)]
    logits = wide[0] @ wide[1].T
    if wide[2] is not None:
        logits += wide[2]
    logits *= scale
    if softcap is not None:
        logits = softcap * np.tanh(logits / softcap)
    normaliser = logsumexp(logits, axis=1)
    log_p = logits - normaliser[:, None]
    return {
        "log_probability": logsumexp(log_p, axis=0) - np.log(len(log_p)),
        "mean_log_probability": log_p.mean(0),
        "logit_sd": logits.std(0),
        "log_normaliser": normaliser,
        "losses": -log_p[np.arange(len(log_p)), targets],
        "hidden_mean": wide[0].mean(0),
        "hidden_covariance": np.cov(wide[0].T, bias=True).reshape(len(wide[1].T), -1),
    }


def inputs(positions: int, vocabulary: int, dimensions: int, dtype: str, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    states = (rng.normal(size=(positions, dimensions)) + rng.normal(size=dimensions)).astype(dtype)
    weight = (1.5 * rng.normal(size=(vocabulary, dimensions)) / np.sqrt(dimensions)).astype(dtype)
    return states, weight, rng.normal(size=vocabulary).astype(dtype), rng.integers(vocabulary, size=positions)


def check(found: Any, expected: dict[str, Any], tolerance: float) -> None:
    """Relative errors of the probabilities themselves: absolute ones of their logarithms."""
    for name in ("log_probability", "mean_log_probability", "log_normaliser", "losses"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=0, atol=tolerance, err_msg=name)
    scale = max(1e-3, float(np.abs(expected["logit_sd"]).max()))
    np.testing.assert_allclose(found.logit_sd, expected["logit_sd"], rtol=0, atol=tolerance * scale)
    for name in ("hidden_mean", "hidden_covariance"):
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("scale", "softcap", "biased"),
    [(1.0, None, False), (0.3, None, True), (1.0, 2.5, False), (1.7, 4.0, True)],
)
@pytest.mark.parametrize("shape", [(1, 3, 2), (37, 1003, 13), (130, 777, 5), (5, 4099, 1)])
def test_equal_to_the_dense_computation(
    shape: tuple[int, int, int], scale: float, softcap: float | None, biased: bool, dtype: str
) -> None:
    states, weight, bias, targets = inputs(*shape, dtype)
    bias = bias if biased else None
    expected = dense(states, weight, bias, scale, softcap, targets)
    untouched = states.tobytes(), weight.tobytes()
    # Blocks of one position, of some with a ragged last one, and all at once.
    for logits_bytes in (1, 5 * 8 * shape[1], 64 << 20):
        found = average_probabilities(
            states, weight, bias, scale=scale, softcap=softcap, targets=targets, logits_bytes=logits_bytes
        )
        assert found.positions == shape[0]
        check(found, expected, TOLERANCE[dtype])
    assert (states.tobytes(), weight.tobytes()) == untouched


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_quarter_of_a_million_tokens(dtype: str) -> None:
    states, weight, _, targets = inputs(70, 262144, 16, dtype)
    found = average_probabilities(states, weight, targets=targets)
    check(found, dense(states, weight, None, 1.0, None, targets), TOLERANCE[dtype])
    np.testing.assert_allclose(np.exp(found.log_probability).sum(), 1.0, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_probabilities_far_below_the_smallest_number(dtype: str) -> None:
    """Logits are spread over thousands of nats; averages of many tokens are 0 in any dtype."""
    states, weight, _, targets = inputs(23, 600, 7, dtype)
    states, weight = states * dtype_of(dtype, 16), weight * dtype_of(dtype, 32)
    found = average_probabilities(states, weight, targets=targets, logits_bytes=6 * 8 * 600)
    expected = dense(states, weight, None, 1.0, None, targets)
    assert (expected["log_probability"] < -800).sum() > 50
    assert np.isfinite(found.log_probability).all()
    # What float32 makes of logits of this size.
    error = {"float64": 1e-10, "float32": 2e-3}[dtype]
    np.testing.assert_allclose(found.log_probability, expected["log_probability"], rtol=0, atol=error)
    np.testing.assert_allclose(found.losses, expected["losses"], rtol=0, atol=error)


def dtype_of(name: str, value: float) -> Any:
    return np.dtype(name).type(value)


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_heads_of_16_bits(name: str) -> None:
    """Each logit is rounded to the head's dtype, as in the model; all else is not."""
    states, weight, bias, targets = inputs(40, 501, 12, "float64")
    kind = getattr(torch, name)
    tensors = [torch.from_numpy(one).to(kind) for one in (states, weight, bias)]
    logits = (tensors[0] @ tensors[1].T).double() + tensors[2].double()
    found = average_probabilities(*tensors, targets=targets)
    log_p = logits.log_softmax(1)
    expected = (log_p.logsumexp(0) - np.log(40)).numpy()
    np.testing.assert_allclose(found.log_probability, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.mean_log_probability, log_p.mean(0).numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.logit_sd, logits.std(0, correction=0).numpy(), rtol=1e-5)
    if name == "bfloat16":
        arrays = [one.astype(ml_dtypes.bfloat16) for one in (states, weight, bias)]
        same = average_probabilities(*arrays, targets=targets)
        np.testing.assert_array_equal(same.log_probability, found.log_probability)


def test_a_models_own_distributions() -> None:
    model = tiny_model("gemma2")
    states = next_states(model, TEXTS)
    found = head_averages(output_head(model), states.states, states.targets)
    rows = [model.tokenizer(text)["input_ids"] for text in TEXTS]
    log_p = torch.cat([model.outputs([ids]).logits[0, :-1].double().log_softmax(1) for ids in rows])
    expected = (log_p.logsumexp(0) - np.log(len(log_p))).numpy()
    np.testing.assert_allclose(found.log_probability, expected, rtol=0, atol=1e-4)
    own = log_p[torch.arange(len(log_p)), torch.from_numpy(states.targets)]
    np.testing.assert_allclose(found.losses, -own.numpy(), rtol=0, atol=1e-4)


def test_progress_bits_and_what_may_be_left_out() -> None:
    states, weight, bias, targets = inputs(50, 300, 8, "float32")
    told: list[int] = []
    given = {"targets": targets, "logits_bytes": 7 * 4 * 300}
    first = average_probabilities(states, weight, bias, advance=told.append, **given)
    assert sum(told) == 50
    assert max(told) <= 7
    again = average_probabilities(torch.from_numpy(states), torch.from_numpy(weight), bias, **given)
    for name in ("log_probability", "mean_log_probability", "logit_sd", "log_normaliser", "losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    less = average_probabilities(states, weight, bias, covariance=False)
    assert less.losses is None
    assert less.hidden_covariance is None
    assert "300 tokens, 50 positions" in repr(first)
    assert "mean loss" in first._repr_html_()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_logits_that_are_not_finite(value: float, softcap: float | None) -> None:
    states, weight, bias, _ = inputs(30, 90, 4, "float32")
    if softcap is not None and not np.isnan(value):
        pytest.skip("a cap makes them finite")
    states[17, 2] = value
    with pytest.raises(ValueError, match="not finite at position 17"):
        average_probabilities(states, weight, softcap=softcap, logits_bytes=8 * 4 * 90)
    states, weight, bias, _ = inputs(30, 90, 4, "float32")
    bias[61] = value
    with pytest.raises(ValueError, match=r"not finite at position 0: token 61"):
        average_probabilities(states, weight, bias, softcap=softcap)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"states": np.ones((4, 3))}, ValueError, "states: 3 dimensions, but the output embedding has 2"),
        ({"states": np.ones((0, 2))}, ValueError, "states: shape"),
        ({"targets": np.zeros(3, dtype=int)}, ValueError, r"targets: shape \(3,\) for 4 positions"),
        ({"targets": np.array([0, 1, 5, 2])}, ValueError, "targets: token 5 at position 2 is outside"),
        ({"targets": np.zeros(4)}, TypeError, "targets: dtype float64"),
        ({"states": torch.ones((4, 2), device="meta")}, ValueError, "states is on meta and weight on cpu"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        average_probabilities(**{"states": np.ones((4, 2)), "weight": np.ones((5, 2)), **changes})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    states, weight, bias, targets = inputs(300, 50021, 64, "float64")
    on_device = (torch.from_numpy(one).cuda() for one in (states, weight, bias))
    found = average_probabilities(*on_device, targets=targets)
    check(found, dense(states, weight, bias, 1.0, None, targets), 1e-10)
