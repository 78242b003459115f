"""Attention weights are those of transformers' eager attention; value norms are those of the projections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmscope.representations import LanguageModel, NoAttentionWeights, capture

from ..tiny_models import random_model
from ..tiny_tokenizers import character_tokenizer
from .models import TEXTS, alone, tiny_model

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def eager(model: LanguageModel, ids: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The weights of all blocks, as transformers gives them for one unpadded sequence."""
    model.model.set_attn_implementation("eager")
    try:
        return tuple(one[0] for one in alone(model, ids, output_attentions=True).attentions)
    finally:
        model.model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma3_text", "gpt_neox", "qwen3", "bert"])
def test_weights_are_those_of_eager_attention(model_type: str) -> None:
    model = tiny_model(model_type)
    plain = list(capture(model, TEXTS, layers="all"))
    assert not plain[0].attention
    for passage, without in zip(capture(model, TEXTS, layers="all", attention="all"), plain, strict=True):
        expected = eager(model, passage.ids)
        for block in range(model.depth):
            weights = passage.attention[block]
            assert weights.dtype == model.dtype
            torch.testing.assert_close(weights, expected[block], **TOLERANCE)
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]), **TOLERANCE)
        for layer, states in passage.states.items():
            torch.testing.assert_close(states, without.states[layer], rtol=1e-4, atol=1e-4)
    assert model.model.config._attn_implementation == "sdpa"


def test_only_the_blocks_asked_for() -> None:
    model = tiny_model("llama")
    (passage,) = capture(model, TEXTS[:1], attention="last")
    assert list(passage.attention) == list(passage.value_norms) == [2]
    (passage,) = capture(model, TEXTS[:1], attention=[1, 0])
    assert list(passage.attention) == list(passage.value_norms) == [0, 1]
    expected = eager(model, passage.ids)
    for block, weights in passage.attention.items():
        torch.testing.assert_close(weights, expected[block], **TOLERANCE)


def test_nothing_is_attended_to_outside_a_sliding_window() -> None:
    model = tiny_model("gemma3_text")
    (passage,) = capture(model, TEXTS[:1], attention="all")
    tokens = len(passage.ids)
    behind = np.arange(tokens)[:, None] - np.arange(tokens)
    for block, reach in enumerate((6, 6, tokens)):
        seen = (passage.attention[block] > 0).all(dim=0).numpy()
        np.testing.assert_array_equal(seen, (behind >= 0) & (behind < reach))


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bert", "gemma3_text"])
def test_value_norms_as_each_query_head_sees_them(model_type: str) -> None:
    model = tiny_model(model_type)
    projected: list[torch.Tensor] = []
    block = model.layers[1]
    projection = {
        "gpt2": lambda: block.attn.c_attn,
        "bert": lambda: block.attention.self.value,
    }.get(model_type, lambda: block.self_attn.v_proj)()
    hook = projection.register_forward_hook(lambda _, inputs, output: projected.append(output))
    passages = list(capture(model, TEXTS[:2], attention=[1], batch_tokens=1))
    hook.remove()
    heads = passages[0].attention[1].shape[0]
    groups = 2 if model_type in ("llama", "gemma3_text") else heads
    for passage, values in zip(passages, projected[-2:], strict=True):
        values = values.chunk(3, dim=-1)[2] if model_type == "gpt2" else values
        by_hand = values.reshape(len(passage.ids), groups, -1).norm(dim=2).T
        expected = torch.stack([by_hand[head // (heads // groups)] for head in range(heads)])
        torch.testing.assert_close(passage.value_norms[1], expected)


def test_models_without_the_interface_give_their_weights_but_no_value_norms() -> None:
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=50)
    tokenizer = character_tokenizer(50)
    model = LanguageModel(random_model(BloomForCausalLM, config), tokenizer, "causal", "tiny bloom")
    for passage in capture(model, TEXTS, attention=[1]):
        expected = alone(model, passage.ids, output_attentions=True).attentions[1][0]
        torch.testing.assert_close(passage.attention[1], expected, **TOLERANCE)
        assert list(passage.attention) == [1]
        assert not passage.value_norms


def falcon(**changes: object) -> LanguageModel:
    from transformers import FalconConfig, FalconForCausalLM

    config = FalconConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, vocab_size=50, **changes
    )
    model = random_model(FalconForCausalLM, config)
    assert model.config._attn_implementation == "sdpa"
    return LanguageModel(model, character_tokenizer(50), "causal", "tiny falcon")


@pytest.mark.parametrize("new", [False, True])
def test_falcon_attends_to_nothing_behind(new: bool) -> None:
    model = falcon(alibi=False, new_decoder_architecture=new)
    plain = list(capture(model, TEXTS, layers="all"))
    with_weights = capture(model, TEXTS, layers="all", attention="all")
    for passage, without in zip(with_weights, plain, strict=True):
        for layer, states in passage.states.items():
            torch.testing.assert_close(states, without.states[layer], rtol=1e-4, atol=1e-4)
        for weights in passage.attention.values():
            assert not weights.triu(1).any()
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]), **TOLERANCE)
    assert model.model.config._attn_implementation == "sdpa"


def test_weights_of_another_forward_pass_are_refused() -> None:
    model = falcon(alibi=True)  # transformers' eager attention adds the bias twice, its sdpa once
    with pytest.raises(
        NoAttentionWeights, match=r"^attention: model type 'falcon' has other hidden states while it gives"
    ):
        capture(model, TEXTS, attention="last")
    assert model.model.config._attn_implementation == "sdpa"


def test_weights_of_later_tokens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.bloom import modeling_bloom

    class Unmasked(modeling_bloom.BloomAttention):
        """Returns weights that the mask has not seen, as some models do."""

        def forward(self, *arguments: object, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
            output, weights = super().forward(*arguments, **options)
            return output, weights + 0.1

    monkeypatch.setattr(modeling_bloom, "BloomAttention", Unmasked)
    config = modeling_bloom.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=50)
    model = random_model(modeling_bloom.BloomForCausalLM, config)
    with pytest.raises(
        NoAttentionWeights, match=r"^attention: block 1, a BloomBlock of .*, gives weights of tokens behind"
    ):
        capture(LanguageModel(model, character_tokenizer(50), "causal", "tiny"), TEXTS, attention="last")


@pytest.mark.parametrize("model_type", ["mamba", "rwkv"])
def test_a_model_without_attention_weights(model_type: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 50}
    config = AutoConfig.for_model(model_type, **sizes, bos_token_id=1, eos_token_id=2)
    model = LanguageModel(
        AutoModelForCausalLM.from_config(config), character_tokenizer(50), "causal", f"tiny {model_type}"
    )
    passages = list(capture(model, TEXTS, layers="all"))
    for passage in passages:
        torch.testing.assert_close(
            passage.states[2], alone(model, passage.ids).last_hidden_state[0], rtol=1e-4, atol=1e-4
        )
    with pytest.raises(
        NoAttentionWeights,
        match=rf"^attention: block 1, a \w+ of model type '{model_type}', gives no attention",
    ):
        capture(model, TEXTS, attention="last")
