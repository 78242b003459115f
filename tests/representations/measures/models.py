"""Tiny encoders with heads, and a tokenizer with a mask token."""

from __future__ import annotations

from typing import Any

import torch

from lmscope.representations import LanguageModel

from ...tiny_models import TINY_BERT, random_model
from ...tiny_tokenizers import character_tokenizer

# A character of the vocabulary that no text here has.
MASK = "O"

TEXTS = [
    "the first of the texts is about water and the fish in it, which swim",
    "a second one: it is about trees, their roots and their leaves",
    "numbers are what this third text is about, and how they are added",
    "the fourth text is on letters, words and on what they stand for",
    "the last of them tells of stones, hills and the men on them",
]


def tokenizer_with_mask() -> Any:
    tokenizer = character_tokenizer(50, around="<s> $A </s>")
    tokenizer.mask_token = MASK
    return tokenizer


def tiny_bert(head: str | None = None, **changes: Any) -> LanguageModel:
    """Random, with the head that ``head`` names."""
    import transformers

    name = {
        None: "BertModel",
        "masked_lm": "BertForMaskedLM",
        "sequence_classification": "BertForSequenceClassification",
    }[head]
    config = transformers.BertConfig(**TINY_BERT | {"max_position_embeddings": 64} | changes)
    model = random_model(getattr(transformers, name), config)
    return LanguageModel(model, tokenizer_with_mask(), "encoder", "tiny bert")


def spoil(block: torch.nn.Module, value: float = 0.0) -> None:
    """The first matrix of the block set to ``value``."""
    with torch.no_grad():
        next(one for one in block.parameters() if one.ndim == 2).fill_(value)
