"""The head of every kind of model gives the model's own logits by its formula, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from lmscope import LanguageModel, OutputHead, load_model, output_head

from ..tiny_models import random_model
from ..tiny_tokenizers import character_tokenizer
from .models import TEXTS, alone, tiny_model

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
# Type, settings, scale, softcap, tied, bias, what is added to the norm's weight to be its gain.
MODELS: list[tuple[str, dict[str, Any], float, float | None, bool, bool, float]] = [
    ("llama", {}, 1.0, None, False, False, 0.0),
    ("llama", {"tie_word_embeddings": True, "vocab_size": 53}, 1.0, None, True, False, 0.0),
    ("gemma2", {"final_logit_softcapping": 5.0, "head_dim": 8}, 1.0, 5.0, True, False, 1.0),
    ("cohere", {"logit_scale": 0.25}, 0.25, None, True, False, 0.0),
    ("granite", {"logits_scaling": 8.0}, 0.125, None, False, False, 0.0),
    ("phi", {}, 1.0, None, False, True, 0.0),
    ("gptj", {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}, 1.0, None, False, True, 0.0),
    ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}, 1.0, None, True, False, 0.0),
]


def causal(model_type: str, changes: dict[str, Any], dtype: torch.dtype = torch.float32) -> LanguageModel:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **{**SIZES, **changes})
    model = random_model(AutoModelForCausalLM.from_config, config).to(dtype)
    return LanguageModel(model, character_tokenizer(50, around="<s> $A"), "causal", f"tiny {model_type}")


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case[0] + ("-tied" if case[4] else ""))
def test_the_formula_gives_the_models_own_logits(case: Any) -> None:
    model_type, changes, scale, softcap, tied, bias, added = case
    model = causal(model_type, changes)
    head = output_head(model)
    assert (head.scale, head.softcap, head.tied, head.bias is not None) == (scale, softcap, tied, bias)
    assert head.weight.data_ptr() == model.model.get_output_embeddings().weight.data_ptr()
    assert (head.vocabulary, head.dimensions) == (changes.get("vocab_size", 50), 32)
    ids = model.tokenizer(TEXTS[0])["input_ids"]
    states = alone(model, ids).last_hidden_state[0]
    own = model.outputs([ids]).logits[0]
    torch.testing.assert_close(head.logits(states), own, rtol=1e-5, atol=1e-5)
    rows = [7, 49, 0]
    torch.testing.assert_close(head.logits(states, rows), own[:, rows], rtol=1e-5, atol=1e-5)
    assert head.final_norm == model.final_norm
    norm = model.base.get_submodule(str(head.final_norm))
    expected = norm.weight.double().numpy() + added
    # Gemma's norm adds in float32.
    np.testing.assert_allclose(head.final_norm_gain, expected, rtol=1e-6 if added else 1e-8)
    assert norm.weight.dtype == torch.float32


def test_a_gain_of_an_odd_number_of_dimensions() -> None:
    model = causal(
        "llama", {"hidden_size": 33, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 8}
    )
    gain = output_head(model).final_norm_gain
    np.testing.assert_allclose(gain, model.base.norm.weight.double().numpy(), rtol=1e-8)


def test_a_cap_that_the_models_own_logits_stay_far_below() -> None:
    model = causal("gemma2", {"final_logit_softcapping": 30.0, "head_dim": 8})
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(1e-3)
    assert output_head(model).softcap == 30.0
    # The cap is in the configuration, and the model does not apply it.
    model.model.forward = type(model.model).forward.__get__(_Uncapped(model.model))
    assert output_head(model).softcap is None


class _Uncapped:
    """A Gemma 2 that is told of no cap while its configuration has one."""

    def __init__(self, model: Any) -> None:
        import copy

        self.__dict__.update(model.__dict__)
        self.config = copy.copy(model.config)
        self.config.final_logit_softcapping = None
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_a_projection_behind_the_norm() -> None:
    """OPT may project its normed states to the width of its embedding."""
    model = causal("opt", {"ffn_dim": 48, "word_embed_proj_dim": 20})
    assert model.final_norm is not None
    head = output_head(model)
    assert (head.dimensions, head.final_norm, head.final_norm_gain) == (20, None, None)
    ids = model.tokenizer(TEXTS[0])["input_ids"]
    states = alone(model, ids).last_hidden_state[0]
    torch.testing.assert_close(head.logits(states), model.outputs([ids]).logits[0], rtol=1e-5, atol=1e-5)
    whole = output_head(causal("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}))
    assert whole.final_norm is not None


@pytest.mark.parametrize(
    ("model_type", "name", "factor"), [("granite", "logits_scaling", 1.02), ("cohere", "logit_scale", 1.02)]
)
def test_a_factor_near_1_in_16_bits(model_type: str, name: str, factor: float) -> None:
    head = output_head(causal(model_type, {name: factor}, torch.bfloat16))
    assert head.scale == (1 / factor if model_type == "granite" else factor)


def test_bfloat16_heads_and_padded_rows() -> None:
    model = causal("llama", {"vocab_size": 64}, torch.bfloat16)
    head = output_head(model)
    assert (head.weight.dtype, head.vocabulary) == (torch.bfloat16, 64)
    ids = model.tokenizer(TEXTS[0])["input_ids"]
    states = alone(model, ids).last_hidden_state[0]
    made = head.logits(states)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, model.outputs([ids]).logits[0].float(), rtol=1e-2, atol=1e-2)


def test_another_formula_is_refused() -> None:
    model = causal("llama", {})

    def shifted(_: Any, __: Any, output: Any) -> Any:
        return output + output.square() / 50

    handle = model.model.lm_head.register_forward_hook(shifted)
    with pytest.raises(ValueError, match=r"type 'llama' make their logits in another way .* differ by \d"):
        output_head(model)
    handle.remove()
    # A factor that no configuration tells of.
    model.model.lm_head.register_forward_hook(lambda _, __, output: 1.5 * output)
    with pytest.raises(ValueError, match=r"differ by 0\.33 of the largest"):
        output_head(model)


def test_encoders_and_models_without_a_head(minilm_path: Path) -> None:
    encoder = load_model(minilm_path)
    with pytest.raises(ValueError, match=r"an encoder, which has no head .*; give a causal model"):
        output_head(encoder)
    model = tiny_model("llama")
    model.model.get_output_embeddings = lambda: None
    with pytest.raises(ValueError, match="type 'llama' have no output embedding"):
        output_head(model)


def test_a_head_of_arrays() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(7, 5)), rng.normal(size=7)
    states = rng.normal(size=(4, 5))
    head = OutputHead(weight=weight, bias=bias, scale=0.5, softcap=2.0)
    expected = 2.0 * np.tanh(0.5 * (states @ weight.T + bias) / 2.0)
    np.testing.assert_allclose(head.logits(states).numpy(), expected, rtol=1e-12)
    small = OutputHead(weight=weight.astype(ml_dtypes.bfloat16))
    assert small.weight.dtype == torch.bfloat16
    np.testing.assert_array_equal(
        small.weight.float().numpy(), weight.astype(ml_dtypes.bfloat16).astype(np.float32)
    )
    weight.flags.writeable = False
    assert OutputHead(weight=weight).weight.numpy().ctypes.data == weight.ctypes.data
    assert "7 x 5" in repr(head)
    assert "softcap" in head._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"weight": np.ones(3)}, ValueError, "weight: shape"),
        ({"weight": np.ones((3, 0))}, ValueError, "none of them empty"),
        ({"weight": np.ones((3, 2), dtype=int)}, TypeError, "weight: dtype torch.int64"),
        ({"weight": np.ones((3, 2)), "bias": np.ones(2)}, ValueError, "bias: 2 values for a vocabulary of 3"),
        ({"weight": np.ones((3, 2)), "scale": 0.0}, ValueError, "scale: 0.0"),
        ({"weight": np.ones((3, 2)), "scale": np.nan}, ValueError, "scale: nan"),
        ({"weight": np.ones((3, 2)), "softcap": -1.0}, ValueError, "softcap: -1.0"),
    ],
)
def test_wrong_arrays(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        OutputHead(**arguments)
