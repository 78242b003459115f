"""Softmax attention and the transformer against other writings of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from lmscope.spin_glass import attention, make_tasks, train

TASKS = make_tasks(tasks=30, dimension=3, prompt_length=5, seed=4)
PROMPTS = next(TASKS.prompts())


def columns() -> np.ndarray:
    """Of PROMPTS, tasks x (prompt length + 1) x (dimension + 1)."""
    labelled = np.concatenate([PROMPTS.tokens, PROMPTS.labels[:, :, None]], axis=2)
    return np.concatenate([labelled, np.pad(PROMPTS.query, ((0, 0), (0, 1)))[:, None]], axis=1)


def test_softmax_attention():
    found = train(TASKS, model="softmax", epochs=5, dtype="float64")
    parameters = {name: one.detach().numpy() for name, one in found.module.named_parameters()}
    expected = []
    for prompt in columns():
        keys = prompt @ parameters["key"].T
        shares = softmax(keys @ (parameters["query"] @ prompt[-1]) / np.sqrt(4))
        expected.append(shares @ prompt @ parameters["value"])
    np.testing.assert_allclose(found.predict(PROMPTS), expected, rtol=1e-12)
    assert found.weights is None
    assert found.parameters == 4 * 4 * 2 + 4


def test_the_transformer_is_that_of_torch():
    found = train(TASKS, model="transformer", width=8, heads=2, layers=3, epochs=5, dtype="float64")
    own = dict(found.module.named_parameters())
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    encoder = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    state = encoder.state_dict()
    for name in state:
        if name.endswith("bias"):
            state[name].zero_()
    for number in range(3):
        ours, theirs = f"blocks.{number}.", f"layers.{number}."
        state[theirs + "self_attn.in_proj_weight"] = torch.cat(
            [own[ours + part] for part in ("query", "key", "value")]
        )
        for part, name in {
            "output": "self_attn.out_proj.weight",
            "gain": "norm1.weight",
            "mlp_gain": "norm2.weight",
            "up": "linear1.weight",
            "up_bias": "linear1.bias",
            "down": "linear2.weight",
            "down_bias": "linear2.bias",
        }.items():
            state[theirs + name] = own[ours + part]
    encoder.load_state_dict(state)
    with torch.no_grad():
        stream = encoder(torch.from_numpy(columns()) @ own["embedding"].T)[:, -1]
        normed = torch.nn.functional.layer_norm(stream, (8,), own["gain"])
        expected = normed @ own["readout"]
    np.testing.assert_allclose(found.predict(PROMPTS), expected.numpy(), rtol=1e-10)


@pytest.mark.parametrize("model", ["full", "softmax", "transformer"])
@pytest.mark.parametrize("batch", [None, 20])
def test_tasks_are_read_in_parts(model, batch, monkeypatch):
    options = {"model": model, "epochs": 5, "dtype": "float64", "batch": batch}
    if model == "transformer":
        options["width"] = 8
    whole = train(TASKS, **options)
    monkeypatch.setattr(attention, "_ACTIVATION_BYTES", 1)  # one task at a time
    parts = train(TASKS, **options)
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-9)
    np.testing.assert_allclose(parts.predict(PROMPTS), whole.predict(PROMPTS), rtol=1e-7)


@pytest.mark.parametrize("model", ["softmax", "transformer"])
def test_training_helps(model):
    found = train(TASKS, model=model, epochs=60, width=16 if model == "transformer" else None)
    assert found.losses[-1] < 0.8 * found.losses[0]
    answers = found.predict(PROMPTS)
    assert np.square(answers - PROMPTS.target).mean() == pytest.approx(found.losses[-1], rel=1e-5)
