"""The example's functions on a minute model: what is held out, what is saved, what is not done twice."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.progress import Progress

import lmscope

EXAMPLE = ("scaling", "corpus", "llama", "train", "measure")


def test_nothing_that_is_held_out_is_learnt_from(example: dict[str, ModuleType]) -> None:
    corpus = example["corpus"].read_corpus()
    bare = [" ".join(text.split()) for text in corpus.training]
    learnt = "\n".join(bare)
    paragraphs = [
        " ".join(part.split()) for text in corpus.held_out for part in text.split("\n\n") if len(part) > 80
    ]
    assert len(paragraphs) > 100
    assert not [part for part in paragraphs if part in learnt]
    sizes = [sum(map(len, part)) for part in corpus]
    assert 0.15 < sizes[1] / sum(sizes) < 0.4
    assert corpus == example["corpus"].read_corpus()
    # Enough for the widest model: 8 tokens a dimension, at less than 8 characters a token.
    assert sizes[1] > 8 * 8 * max(size.width for size in example["train"].SIZES)


def test_sizes(example: dict[str, ModuleType]) -> None:
    """Five sizes from 0.1 to 10 million parameters, about equally far apart."""
    train = example["train"]
    with torch.device("meta"):
        counts = [
            sum(weight.numel() for weight in train.new_model(size, 1024, 0).parameters())
            for size in train.SIZES
        ]
    assert 0.9e5 < counts[0] < 1.2e5
    assert 0.9e7 < counts[-1] < 1.1e7
    assert all(2.5 < after / before < 4.5 for before, after in itertools.pairwise(counts))


def test_a_minute_model(example: dict[str, ModuleType], tmp_path: Path) -> None:
    corpus, train = example["corpus"], example["train"]
    texts = corpus.read_corpus()
    tokenizer = corpus.train_tokenizer(texts.training[:8])
    part = corpus.Corpus(texts.training[:8], texts.held_out[:1])
    stream = example["llama"].token_stream(tokenizer, part.training)
    text = texts.held_out[0]
    assert tokenizer.decode(tokenizer.encode(text, verbose=False), clean_up_tokenization_spaces=False) == text
    size = train.Size(16, 1, 2)
    options = {"steps": 12, "stream": stream, "tokenizer": tokenizer, "progress": Progress(disable=True)}
    assert train.train_one(tmp_path, size, 0, **options)
    path = tmp_path / "16-0"
    facts = json.loads((path / "training.json").read_text())
    assert facts["last_losses"] < 6.9
    weights = (path / "model.safetensors").read_bytes()
    assert not train.train_one(tmp_path, size, 0, **options)
    with pytest.raises(SystemExit, match="was trained for 12 steps, not 13"):
        train.train_one(tmp_path, size, 0, **{**options, "steps": 13})
    assert train.train_one(tmp_path / "again", size, 0, **options)
    assert (tmp_path / "again" / "16-0" / "model.safetensors").read_bytes() == weights
    assert train.train_one(tmp_path, size, 1, **options)
    assert (tmp_path / "16-1" / "model.safetensors").read_bytes() != weights
    found = lmscope.open_checkpoint(path)
    assert {tensor.role for tensor in found} >= {"query", "down", "token_embedding"}


def test_measure_asks_for_models(example: dict[str, ModuleType], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no trained model"):
        example["measure"].measure(tmp_path)
    assert example["measure"].trained(Path(__file__).parent) == []
