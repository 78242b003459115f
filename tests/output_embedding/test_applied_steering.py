"""An edit in a running model: its logits are what was computed, and nothing of it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lmscope.output_embedding.steering import steer_token, steer_tokens
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.representations import LanguageModel
from lmscope.representations.next_states import next_states
from lmscope.representations.output_head import output_head

from ..representations.models import TEXTS, tiny_model
from ..tiny_models import TINY, random_model
from ..tiny_tokenizers import character_tokenizer
from .heads import dense_probabilities

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("gpt2", {}),
    "untied": ("llama", {"tie_word_embeddings": False}),
    "tied with a cap": ("gemma2", {"final_logit_softcapping": 5.0}),
    "bias": ("phi", {}),
    "scaled": ("granite", {"logits_scaling": 4.0}),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    kind, changes = MODELS[request.param]
    sizes = TINY.get(kind, TINY["qwen2"]) | changes
    config = AutoConfig.for_model(kind, **{**sizes, "max_position_embeddings": 64})
    made = random_model(AutoModelForCausalLM.from_config, config).double()
    return LanguageModel(made, character_tokenizer(50), "causal", f"tiny {kind}")


def bits(model: LanguageModel) -> dict[str, bytes]:
    state = model.model.state_dict()
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def probabilities(model: LanguageModel) -> Any:
    """Of every position whose next token is the text's own, in the order of `next_states`."""
    rows = []
    for text in TEXTS:
        ids = model.tokenizer(text)["input_ids"]
        logits = model.outputs([ids]).logits[0, :-1]
        rows.append(torch.softmax(logits, 1).numpy())
    return np.concatenate(rows)


def test_the_model_gives_what_is_realised(model: LanguageModel) -> None:
    states = next_states(model, TEXTS)
    steering = steer_tokens(model, {"e": 1.5, "t": 0.2, 9: 1.3}, fit=states)
    assert (steering.label, steering.identity) == (model.label, None)
    realised = steering.realised(states)
    np.testing.assert_allclose(realised.factor, [1.5, 0.2, 1.3], rtol=1e-9)
    before = probabilities(model)
    kept = bits(model)
    head = output_head(model)
    rows = head.weight.numpy().copy()
    embedding = model.model.get_input_embeddings().weight
    entries = embedding.numpy().tobytes()
    with steering.applied(model):
        after = probabilities(model)
        assert model.model.get_input_embeddings().weight is embedding
        assert embedding.numpy().tobytes() == entries
        edited = model.model.get_output_embeddings().weight.numpy()
        different = (edited != rows).any(axis=1)
        np.testing.assert_array_equal(np.flatnonzero(different), np.sort(steering.tokens))
    tokens = steering.tokens
    np.testing.assert_allclose(realised.before, before.mean(0)[tokens], rtol=1e-9)
    np.testing.assert_allclose(realised.after, after.mean(0)[tokens], rtol=1e-9)
    middle = (before + after) / 2
    js = (before * np.log(before / middle) + after * np.log(after / middle)).sum(1).mean() / 2
    assert realised.js == pytest.approx(js, rel=1e-8)
    assert bits(model) == kept
    assert output_head(model).tied == head.tied == model.config.tie_word_embeddings
    np.testing.assert_array_equal(probabilities(model), before)


def test_an_exception_within_leaves_nothing(model: LanguageModel) -> None:
    steering = steer_token(model, "e", 0.3, fit=TEXTS)
    kept = bits(model)
    with pytest.raises(RuntimeError, match="within"), steering.applied(model):
        raise RuntimeError("within")
    assert bits(model) == kept


def test_edits_of_other_rows_may_be_nested_and_of_the_same_rows_not() -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    states = next_states(model, TEXTS)
    one, other = (steer_token(model, token, 0.5, fit=states) for token in ("e", "t"))
    kept = bits(model)
    with one.applied(model):
        with other.applied(model):
            both = probabilities(model).mean(0)
        with (
            pytest.raises(SteeringError, match="is not the one that the edit was made from"),
            one.applied(model),
        ):
            pass
    assert bits(model) == kept
    np.testing.assert_array_less(
        both[[*one.tokens, *other.tokens]], probabilities(model).mean(0)[[*one.tokens, *other.tokens]]
    )
    model.model.double()
    message = "of float32 rows of 32 values, tiny llama has float64 rows"
    with pytest.raises(SteeringError, match=message), one.applied(model):
        pass


def test_a_model_in_half_precision_holds_the_rounded_rows() -> None:
    model = tiny_model("gpt2")
    model.model.to(torch.bfloat16)
    states = next_states(model, TEXTS)
    steering = steer_token(model, "e", 0.5, fit=states)
    assert steering.rows_after.dtype.name == "bfloat16"
    with steering.applied(model):
        row = model.model.get_output_embeddings().weight[int(steering.tokens[0])]
        np.testing.assert_array_equal(row.double().numpy(), steering.rows_after[0].astype(np.float64))
    head = output_head(model)
    after = dense_probabilities(head, states.states, {int(steering.tokens[0]): steering.rows_after[0]})
    # Normalisers are of the head's own, rounded products.
    assert steering.realised(states).after[0] == pytest.approx(after.mean(0)[steering.tokens[0]], rel=0.05)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("the", r"token 'the' is 3 tokens of tiny llama: 't' \(6\), 'h' \(\d+\), 'e' \(5\); steer one"),
        ("é", "token 'é' is unknown to the tokenizer of tiny llama"),
        ("", "token '' is unknown"),
        (50, "token 50: the head has rows for tokens 0 to 49"),
    ],
)
def test_unknown_tokens_are_named(token: Any, message: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(SteeringError, match=message):
        steer_token(model, token, 2.0, fit=TEXTS)
    with pytest.raises(TypeError, match=r"an id or a text, got 1\.5"):
        steer_token(model, 1.5, 2.0, fit=TEXTS)  # type: ignore[arg-type]


def test_a_token_by_text_and_by_id_is_given_twice() -> None:
    model = tiny_model("llama")
    with pytest.raises(SteeringError, match="token 5 is given twice"):
        steer_tokens(model, {"e": 2.0, 5: 0.5}, fit=TEXTS)


def test_an_encoder_cannot_be_steered() -> None:
    with pytest.raises(ValueError, match="an encoder, which has no head"):
        steer_token(tiny_model("bert"), "e", 2.0, fit=TEXTS)
