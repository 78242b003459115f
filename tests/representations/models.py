"""Tiny random models of several kinds, with a tokenizer of single characters."""

from __future__ import annotations

from typing import Any

import torch

from lmscope.representations import LanguageModel

from ..tiny_models import TINY, random_model
from ..tiny_tokenizers import character_tokenizer

TEXTS = [
    "a text that is longer than most of them",
    "short",
    "one of middling length",
    "x",
    "and here is another one of the long ones",
]
# The window of Gemma 3 is shorter than the texts, so that its mask shows.
CHANGES: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 6, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}
}


def tiny_model(model_type: str, *, padding_side: str = "right", **changes: Any) -> LanguageModel:
    """Its every parameter is random; positions enough for TEXTS."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    sizes = TINY[model_type] | CHANGES.get(model_type, {}) | changes
    positions = "n_positions" if model_type == "gpt2" else "max_position_embeddings"
    config = AutoConfig.for_model(model_type, **{**sizes, positions: 64})
    encoder = model_type in ("bert", "roberta", "distilbert")
    auto = AutoModel if encoder else AutoModelForCausalLM
    around = "<s> $A </s>" if encoder else "<s> $A"
    tokenizer = character_tokenizer(50, around=around, padding_side=padding_side)
    model = random_model(auto.from_config, config)
    return LanguageModel(model, tokenizer, "encoder" if encoder else "causal", f"tiny {model_type}")


def alone(model: LanguageModel, ids: Any, **options: Any) -> Any:
    """What transformers itself gives for one unpadded sequence."""
    with torch.no_grad():
        return model.base(torch.as_tensor(ids)[None], output_hidden_states=True, **options)
