"""English prose that every Python carries, cut into a part to learn from and one to measure on."""

from __future__ import annotations

import random
import re
from pydoc_data.topics import topics
from typing import NamedTuple

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HELD_OUT = 0.2
"""Least share of the characters."""
VOCABULARY = 1024
CONTEXT = 128
END = "<|endoftext|>"


class Corpus(NamedTuple):
    """Texts: topics of the language reference."""

    training: list[str]
    held_out: list[str]


def read_corpus(seed: int = 0) -> Corpus:
    """Whole topics are held out. Topics quote each other, so that a paragraph of theirs is removed from all
    others, and one that occurs twice in the training part stays once."""
    names = sorted(topics)
    random.Random(seed).shuffle(names)
    wanted = HELD_OUT * sum(map(len, topics.values()))
    held_out: list[str] = []
    while sum(len(topics[name]) for name in held_out) < wanted:
        held_out.append(names.pop())
    seen = {_bare(paragraph) for name in held_out for paragraph in _paragraphs(topics[name])}
    training = []
    for name in sorted(names):
        kept = []
        for paragraph in _paragraphs(topics[name]):
            if _bare(paragraph) not in seen:
                seen.add(_bare(paragraph))
                kept.append(paragraph)
        if kept:
            training.append("\n\n".join(kept))
    return Corpus(training, [topics[name].strip() for name in sorted(held_out)])


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding that adds no special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, model_max_length=CONTEXT
    )


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]


def _bare(paragraph: str) -> str:
    """Quotations differ in indentation and line breaks."""
    return " ".join(paragraph.split())
