"""Tiny causal checkpoints with a tokenizer of characters, and prose to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .tiny_models import random_model
from .tiny_tokenizers import CHARACTERS, SPECIAL, character_tokenizer

VOCABULARY = len(SPECIAL) + len(CHARACTERS)


def prose(characters: int, *, start: int = 0) -> str:
    """Running English text of Python's documentation, indentation and markup left out."""
    from pydoc_data.topics import topics

    lines = (line.strip() for topic in sorted(topics) for line in topics[topic].splitlines())
    text = " ".join(line for line in lines if len(line) > 40 and not set(line) & set("|*~#@"))
    return text[start : start + characters]


def save_causal(path: Path, *, hidden_size: int = 32, change: Any = None) -> Path:
    """A random Llama of two blocks that reads 64 tokens; ``change`` edits the model before it is saved."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
    )
    model = random_model(LlamaForCausalLM, config)
    if change is not None:
        change(model)
    model.save_pretrained(path)
    character_tokenizer(VOCABULARY).save_pretrained(path)
    return path
