"""The encoding of a model's own averages: from a LanguageModel, a transformers model, or arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmscope import LanguageModel, fit_token_encoding, token_probability_encoding

from ..representations.models import TEXTS, tiny_model

# The first caps its logits and has its embeddings tied.
KINDS = ["gemma2", "llama", "gpt_neox"]


def dense(model: LanguageModel) -> tuple[Any, Any]:
    """Log of the mean over positions of the model's own probabilities, and the mean state."""
    import torch

    probabilities, states = [], []
    for text in TEXTS:
        ids = model.tokenizer(text)["input_ids"]
        if len(ids) < 2:
            continue
        with torch.no_grad():
            logits = model.model(torch.tensor([ids])).logits[0, :-1].double()
            states.append(model.base(torch.tensor([ids])).last_hidden_state[0, :-1].double())
        probabilities.append(logits.softmax(-1))
    return torch.cat(probabilities).mean(0).log().numpy(), torch.cat(states).mean(0).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_on_texts_is_the_regression_of_its_own_averages(kind: str) -> None:
    model = tiny_model(kind)
    passed: list[int] = []
    found = token_probability_encoding(model, texts=TEXTS, advance=passed.append)
    log_probability, mean = dense(model)
    np.testing.assert_allclose(found.log_probability, log_probability, atol=1e-5)
    weight = model.model.get_output_embeddings().weight.numpy()
    expected = fit_token_encoding(weight, log_probability, hidden_mean=mean)
    np.testing.assert_allclose(found.slope, expected.slope, atol=1e-3)
    assert found.r2 == pytest.approx(expected.r2, abs=1e-5)
    assert found.cosine == pytest.approx(expected.cosine, abs=1e-4)
    assert sum(passed) == 2 * sum(len(text) for text in TEXTS)

    by_transformers = token_probability_encoding(model.model, model.tokenizer, TEXTS)
    np.testing.assert_array_equal(by_transformers.slope, found.slope)


def test_arrays_with_bias_scale_and_cap() -> None:
    generator = np.random.default_rng(1)
    hidden, embedding = generator.standard_normal((30, 6)) / 5 + 1, generator.standard_normal((400, 6))
    bias = generator.standard_normal(400)
    found = token_probability_encoding(hidden=hidden, embedding=embedding, bias=bias, scale=0.3, softcap=30)
    logits = 30 * np.tanh(0.3 * (hidden @ embedding.T + bias) / 30)
    odds = np.exp(logits)
    expected = np.log((odds / odds.sum(axis=1, keepdims=True)).mean(axis=0))
    np.testing.assert_allclose(found.log_probability, expected, rtol=1e-10)
    # Hardly any logit comes near the cap: slopes are those of the theory.
    assert found.bias_slope == pytest.approx(-0.3, abs=0.01)
    np.testing.assert_allclose(found.slope, -0.3 * hidden.mean(axis=0), atol=0.02)
    assert found.r2 > 0.999
    assert found.cosine is not None
    assert found.cosine > 0.999
    only = token_probability_encoding(hidden=hidden, embedding=embedding, tokens=np.arange(100), shuffle=3)
    assert (only.tokens, only.shuffled) == (100, True)


def test_tensors_are_arrays() -> None:
    import torch

    torch.manual_seed(0)
    hidden, embedding = torch.randn(20, 5), torch.randn(300, 5)
    found = token_probability_encoding(hidden=hidden.bfloat16(), embedding=embedding.bfloat16())
    other = token_probability_encoding(
        hidden=hidden.bfloat16().float().numpy(), embedding=embedding.bfloat16().float().numpy()
    )
    # Logits are rounded to bfloat16, as in a model of it: some 2**-9 of each, averaged over states.
    np.testing.assert_allclose(found.log_probability, other.log_probability, atol=0.02)
    np.testing.assert_allclose(found.slope, other.slope, atol=0.02)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "found no hidden and no embedding"),
        ({"hidden": np.ones((2, 3))}, "found no embedding"),
        (
            {"hidden": np.ones((2, 3)), "embedding": np.ones((9, 3)), "texts": ["a"]},
            "found states beside a tokenizer",
        ),
        ({"model": 1}, "found a model without texts"),
        ({"model": 1, "texts": ["a"], "bias": [1.0], "scale": 2.0}, "found a model beside bias, scale"),
    ],
)
def test_neither_one_nor_the_other(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="give either a model with texts, .*; " + message):
        token_probability_encoding(**given)


def test_models_that_cannot_be_taken() -> None:
    encoder = tiny_model("bert")
    with pytest.raises(ValueError, match="tiny bert is of type 'bert', an encoder"):
        token_probability_encoding(encoder, texts=TEXTS)
    causal = tiny_model("llama")
    with pytest.raises(TypeError, match="a LanguageModel has its own"):
        token_probability_encoding(causal, causal.tokenizer, TEXTS)
    with pytest.raises(TypeError, match="a LlamaForCausalLM needs one"):
        token_probability_encoding(causal.model, texts=TEXTS)
    with pytest.raises(ValueError, match="tokens: 30 are too few for a regression on 32"):
        token_probability_encoding(causal, texts=TEXTS, tokens=np.arange(30))
